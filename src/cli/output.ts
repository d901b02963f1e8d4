import type { Command } from 'commander'
import { safeMessageOf } from '../infra/log.js'
import type { Host } from './host.js'

/** Ends the help of a command with lines that can be copied. */
export const examples = (...lines: string[]): string =>
  `\nExamples:\n${lines.map((line) => `  $ npm run ${line.includes('--json') ? '--silent ' : ''}cli -- ${line}`).join('\n')}`

/** Writes to standard output what a command has to say in the end, or that this is not possible. */
export function writeResult(host: Host, text: string): void {
  host.stdout.on('error', ({ message }) => {
    host.stderr.write(`The command has done its work, but what it says could not be printed: ${message}\n`)
    host.exitCode = 1
  })
  host.stdout.write(text)
}

/** Prints a result: as JSON with --json, else as the text. */
export function print(host: Host, command: Command, result: unknown, text: string): void {
  const { json } = command.optsWithGlobals<{ json?: boolean }>()
  writeResult(host, `${json ? JSON.stringify(result, null, 2) : text}\n`)
}

/** Columns as wide as their longest cell. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [head, ...rows]
  const widths = head.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)))
  const toText = (line: readonly string[]) => line.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')
  return lines.map((line) => toText(line).trimEnd()).join('\n')
}

/** What went wrong, for an operator: drivers report some failures with a code and no words. */
export function describeFailure(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(describeFailure).join('\n')
  if (!(error instanceof Error)) return String(error)
  return safeMessageOf(error) || String((error as { code?: unknown }).code ?? error.name)
}

import { execFile, type StdioOptions, spawn } from 'node:child_process'
import { once } from 'node:events'
import { open } from 'node:fs/promises'
import { PassThrough, Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import type { Host } from '../../src/cli/host.js'
import { runCommand } from '../../src/cli/program.js'
import { processEnv } from './server-process.js'
import { estimator } from './threads.js'

const MAX_OUTPUT = 64 * 1024 * 1024
const ROOT = fileURLToPath(new URL('../..', import.meta.url))

interface CliResult {
  code: number | string
  stdout: string
  stderr: string
}

const argumentsOf = (args: string[]) => ['dist/cli.js', ...args]

function settingsOf(env: Record<string, string>) {
  const { PATH = '', HOME = '' } = process.env
  return { cwd: ROOT, env: { PATH, HOME, ...processEnv(env) } }
}

/** What `npm run cli` does, in this process: to load it takes far longer than most commands. */
export const runCli = (env: Record<string, string>, ...args: string[]) => feedCli('', env, ...args)

/** The same, with something on its standard input. */
export async function feedCli(input: string, env: Record<string, string>, ...args: string[]): Promise<CliResult> {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()]
  const host: Host = {
    env: processEnv(env),
    stdin: Readable.from([input]),
    stdout,
    stderr,
    replacements: { estimator },
  }
  const written = Promise.all([text(stdout), text(stderr)])
  await runCommand(host, args)
  for (const stream of [stdout, stderr]) stream.end()
  const [output, messages] = await written
  return { code: host.exitCode ?? 0, stdout: output, stderr: messages }
}

/** `npm run cli` as a process of its own, which has to end by itself, with something on its standard input. */
export function spawnCli(input: string, env: Record<string, string>, ...args: string[]): Promise<CliResult> {
  return new Promise((resolve) => {
    const settings = { ...settingsOf(env), maxBuffer: MAX_OUTPUT }
    const child = execFile(process.execPath, argumentsOf(args), settings, (error, stdout, stderr) =>
      resolve({ code: error ? (error.code ?? 'killed') : 0, stdout, stderr }),
    )
    child.stdin?.end(input)
  })
}

/** The same, with outputs that find no space. */
export async function overflowCli(
  outputs: { stdout?: 'full'; stderr?: 'full' },
  env: Record<string, string>,
  ...args: string[]
): Promise<{ code: number | null; stderr: string }> {
  const full = await open('/dev/full', 'w')
  try {
    const stdio: StdioOptions = ['ignore', outputs.stdout ? full.fd : 'ignore', outputs.stderr ? full.fd : 'pipe']
    const child = spawn(process.execPath, argumentsOf(args), { ...settingsOf(env), stdio })
    const [[code], stderr] = await Promise.all([once(child, 'exit'), child.stderr ? text(child.stderr) : ''])
    return { code, stderr }
  } finally {
    await full.close()
  }
}

/** The same, for a test that reads its output itself. */
export const startCli = (env: Record<string, string>, ...args: string[]) =>
  spawn(process.execPath, argumentsOf(args), { ...settingsOf(env), stdio: ['ignore', 'pipe', 'pipe'] })

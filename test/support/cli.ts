import { execFile, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { processEnv } from './server-process.js'

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

/** `npm run cli`, as a process of its own beside the servers. */
export const runCli = (env: Record<string, string>, ...args: string[]) => feedCli('', env, ...args)

/** The same, with something on its standard input. */
export function feedCli(input: string, env: Record<string, string>, ...args: string[]): Promise<CliResult> {
  return new Promise((resolve) => {
    const settings = { ...settingsOf(env), maxBuffer: MAX_OUTPUT }
    const child = execFile(process.execPath, argumentsOf(args), settings, (error, stdout, stderr) =>
      resolve({ code: error ? (error.code ?? 'killed') : 0, stdout, stderr }),
    )
    child.stdin?.end(input)
  })
}

/** The same, for a test that reads its output itself. */
export const startCli = (env: Record<string, string>, ...args: string[]) =>
  spawn(process.execPath, argumentsOf(args), { ...settingsOf(env), stdio: ['ignore', 'pipe', 'pipe'] })

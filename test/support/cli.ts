import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { processEnv } from './server-process.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

interface CliResult {
  code: number | string
  stdout: string
  stderr: string
}

/** `npm run cli`, as a process of its own beside the servers. */
export function runCli(env: Record<string, string>, ...args: string[]): Promise<CliResult> {
  const { PATH = '', HOME = '' } = process.env
  const settings = { cwd: ROOT, env: { PATH, HOME, ...processEnv(env) } }
  return new Promise((resolve) => {
    execFile(process.execPath, ['--import', 'tsx', 'src/cli.ts', ...args], settings, (error, stdout, stderr) =>
      resolve({ code: error ? (error.code ?? 'killed') : 0, stdout, stderr }),
    )
  })
}

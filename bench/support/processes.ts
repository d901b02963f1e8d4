import { type ChildProcess, fork, type Serializable, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import { fileURLToPath } from 'node:url'
import { onCleanup } from './cleanup.js'

const STOP_WITHIN_MS = 15_000
const LOG_TAIL = 4000

export const ROOT = fileURLToPath(new URL('../../', import.meta.url))

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

/** Asks the process to end, and makes it end when it does not. */
async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exited = once(child, 'exit')
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_WITHIN_MS)
  await exited
  clearTimeout(timer)
}

export interface Program {
  readonly child: ChildProcess
  /** The end of what it has printed, for when it fails. */
  tail(): string
}

/** Starts a script of plain JavaScript that is not ours to talk to. */
export function startProgram(args: readonly string[], env: NodeJS.ProcessEnv): Program {
  const child = spawn(process.execPath, args, { cwd: ROOT, env, stdio: ['ignore', 'pipe', 'pipe'] })
  let printed = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      printed = (printed + chunk).slice(-LOG_TAIL)
    })
  }
  onCleanup(() => stop(child))
  return { child, tail: () => printed }
}

/** A child process that answers one message at a time. */
export interface Helper {
  ask<Answer>(question: object): Promise<Answer>
}

export function startHelper(file: string): Helper {
  const child = fork(fileURLToPath(new URL(file, import.meta.url)), {
    execArgv: file.endsWith('.ts') ? ['--import', 'tsx'] : [],
    env: { PATH: process.env.PATH, NODE_ENV: 'production' },
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
  onCleanup(() => stop(child))
  return {
    ask: (question) =>
      new Promise((resolve, reject) => {
        const onExit = () => reject(new Error(`${file} has ended`))
        child.once('exit', onExit)
        child.once('message', (answer) => {
          child.off('exit', onExit)
          resolve(answer as never)
        })
        child.send(question as Serializable)
      }),
  }
}

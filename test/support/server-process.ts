import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterAll, onTestFinished, TestRunner } from 'vitest'
import { deferred } from './deferred.js'
import { TEST_ENVIRONMENT } from './environment.js'

export interface ServerProcess {
  pid: number
  /** Where it is reached; fails when it ends before it is ready. */
  ready: Promise<string>
  /** Everything it has written, to both streams. */
  output(): string
  kill(signal: NodeJS.Signals): void
  /** Its exit code; null when a signal has ended it. */
  exited: Promise<number | null>
}

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
/** A cold start on a machine that is busy with other tests. */
export const START_MS = 90_000

const atTheEnd = (effect: () => Promise<void> | void) =>
  TestRunner.getCurrentTest() ? onTestFinished(effect) : afterAll(effect)

/** A directory of its own. It goes with the test or, made outside of one, with the file. */
export function makeDataDir(): string {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-data-'))
  atTheEnd(() => rmSync(folder, { recursive: true, force: true, maxRetries: 10 }))
  return folder
}

/** The process id of the PostgreSQL that a server runs in the directory. */
export const postmasterOf = (dataDir: string): number =>
  Number.parseInt(readFileSync(join(dataDir, 'postgres', 'postmaster.pid'), 'utf8'), 10)

function signalGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // Nobody is left of it.
  }
}

/** `npm start`, as a process of its own with exactly these settings. Whoever starts it has to end it. */
export function spawnServer(
  env: Record<string, string>,
  stdout: 'pipe' | number = 'pipe',
): ServerProcess & { end(): Promise<void> } {
  const { PATH = '', HOME = '' } = process.env
  const child: ChildProcess = spawn(process.execPath, ['dist/main.js'], {
    cwd: ROOT,
    env: { PATH, HOME, ...env },
    stdio: ['ignore', stdout, 'pipe'],
    // A group of its own, so that nothing is left of it when the test ends.
    detached: true,
  })
  const pid = child.pid ?? 0
  const lines: string[] = []
  const exited = once(child, 'exit').then(([code]) => code as number | null)
  const ready = deferred<string>()
  ready.promise.catch(() => {})
  for (const stream of [child.stdout, child.stderr]) {
    if (!stream) continue
    createInterface({ input: stream }).on('line', (line) => {
      lines.push(line)
      const [, url] = /Portcullis is ready at (http[^\s"]+)/.exec(line) ?? []
      if (url) ready.resolve(url)
    })
  }
  void exited.then((code) => ready.reject(new Error(`The server ended with ${code}:\n${lines.join('\n')}`)))
  return {
    ...{ pid, exited },
    ready: ready.promise,
    output: () => lines.join('\n'),
    kill: (signal) => void child.kill(signal),
    end: async () => {
      signalGroup(pid)
      await exited
    },
  }
}

/** The same. Whatever is left of it ends with the test. A file as its standard output keeps it from saying that it is ready. */
export function startProcess(env: Record<string, string>, stdout?: number): ServerProcess {
  const { end, ...server } = spawnServer(env, stdout)
  atTheEnd(end)
  return server
}

/** The settings of the tests for a process: what `TEST_ENVIRONMENT` says, and these. */
export const processEnv = (env: Record<string, string>) => ({ ...TEST_ENVIRONMENT, LOG_FORMAT: 'json', ...env })

import { type ChildProcess, spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { Redis } from 'ioredis'
import { afterAll, onTestFinished, TestRunner, vi } from 'vitest'

const PROGRAM = (process.env.PATH ?? '')
  .split(delimiter)
  .map((folder) => join(folder, 'redis-server'))
  .find(existsSync)

/** Whether this machine has a redis-server to start. */
export const hasRedis = PROGRAM !== undefined

export interface RedisServer {
  url: string
  port: number
  /** For what a test looks up or changes behind the back of whom it tests. */
  admin: Redis
  /** Starts it again on the same port, empty unless it was told to save. */
  start(): Promise<void>
  /** SIGKILL: nothing is saved, nothing is said. */
  kill(): Promise<void>
  /** It keeps its connections, and answers nothing. */
  pause(): void
  resume(): void
  /** All texts that it holds, by their keys. */
  texts(): Promise<Record<string, string>>
}

/**
 * A port that stays free until a process listens on it, and while it is restarted: the system gives those from 32,768 on
 * to others at any time.
 */
export async function freePort(): Promise<number> {
  const port = randomInt(10_000, 32_768)
  const probe = createServer().listen(port, '127.0.0.1')
  const isFree = await once(probe, 'listening').then(
    () => true,
    () => false,
  )
  if (!isFree) return freePort()
  probe.close()
  await once(probe, 'close')
  return port
}

/** A Redis of its own. It ends with the test or, started outside of one, with the file. */
export async function startRedis(...settings: string[]): Promise<RedisServer> {
  const port = await freePort()
  const url = `redis://127.0.0.1:${port}`
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-redis-'))
  const options = [
    '--port',
    `${port}`,
    '--bind',
    '127.0.0.1',
    '--dir',
    folder,
    '--save',
    '',
    '--appendonly',
    'no',
    ...settings,
  ]
  const admin = new Redis(url, { lazyConnect: true, retryStrategy: () => 50, maxRetriesPerRequest: null })
  admin.on('error', () => {})
  let child: ChildProcess | undefined

  async function start(): Promise<void> {
    child = spawn(PROGRAM ?? 'redis-server', options, { stdio: 'ignore' })
    if (admin.status === 'wait') void admin.connect().catch(() => {})
    await vi.waitUntil(() => admin.ping().then(Boolean, () => false), { timeout: 30_000 })
  }
  async function kill(): Promise<void> {
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const exited = once(child, 'exit')
    child.kill('SIGKILL')
    await exited
  }
  const end = async () => {
    admin.disconnect()
    await kill()
    rmSync(folder, { recursive: true, force: true })
  }
  if (TestRunner.getCurrentTest()) onTestFinished(end)
  else afterAll(end)
  await start()
  return {
    ...{ url, port, admin, start, kill },
    pause: () => void child?.kill('SIGSTOP'),
    resume: () => void child?.kill('SIGCONT'),
    texts: async () => {
      const keys = await admin.keys('*')
      const entries = keys.map(async (key) => [key, await admin.get(key).catch(() => '')] as const)
      return Object.fromEntries((await Promise.all(entries)).map(([key, text]) => [key, text ?? '']))
    },
  }
}

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { Redis } from 'ioredis'
import { afterAll, vi } from 'vitest'

const PROGRAM = (process.env.PATH ?? '')
  .split(delimiter)
  .map((folder) => join(folder, 'redis-server'))
  .find(existsSync)

/** Whether this machine has a redis-server to start. */
export const hasRedis = PROGRAM !== undefined

export interface RedisServer {
  url: string
  /** Starts it again, empty, on the same port. */
  start(): Promise<void>
  /** SIGKILL: nothing is saved, nothing is said. */
  kill(): Promise<void>
  /** It keeps its connections, and answers nothing. */
  pause(): void
  resume(): void
  /** All texts that it holds, by their keys. */
  texts(): Promise<Record<string, string>>
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const address = probe.address()
  probe.close()
  await once(probe, 'close')
  return typeof address === 'object' && address ? address.port : 0
}

/** A Redis of this file alone. It ends with the file. */
export async function startRedis(): Promise<RedisServer> {
  const port = await freePort()
  const url = `redis://127.0.0.1:${port}`
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-redis-'))
  const options = ['--port', `${port}`, '--bind', '127.0.0.1', '--dir', folder, '--save', '', '--appendonly', 'no']
  const admin = new Redis(url, { lazyConnect: true, retryStrategy: () => 50, maxRetriesPerRequest: null })
  admin.on('error', () => {})
  let child: ChildProcess | undefined

  async function start(): Promise<void> {
    child = spawn(PROGRAM ?? 'redis-server', options, { stdio: 'ignore' })
    if (admin.status === 'wait') void admin.connect().catch(() => {})
    await vi.waitUntil(() => admin.ping().then(Boolean, () => false), { timeout: 10_000 })
  }
  async function kill(): Promise<void> {
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const exited = once(child, 'exit')
    child.kill('SIGKILL')
    await exited
  }
  afterAll(async () => {
    admin.disconnect()
    await kill()
    rmSync(folder, { recursive: true, force: true })
  })
  await start()
  return {
    ...{ url, start, kill },
    pause: () => void child?.kill('SIGSTOP'),
    resume: () => void child?.kill('SIGCONT'),
    texts: async () => {
      const keys = await admin.keys('*')
      const entries = keys.map(async (key) => [key, await admin.get(key).catch(() => '')] as const)
      return Object.fromEntries((await Promise.all(entries)).map(([key, text]) => [key, text ?? '']))
    },
  }
}

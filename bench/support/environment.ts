import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Redis } from 'ioredis'
import { SMTPServer } from 'smtp-server'
import { type Accounts, createAccounts } from './accounts.js'
import { onCleanup } from './cleanup.js'
import type { LoadJob, LoadResult } from './load.js'
import type { Options } from './options.js'
import { freePort, type Helper, startHelper, startProgram } from './processes.js'
import { createDatabase, openRedis } from './storage.js'

const START_WITHIN_MS = 30_000

/** Everything that the scenarios measure with. */
export interface Environment {
  options: Options
  origin: string
  port: number
  databaseUrl: string
  /** 0: it has none. */
  inspectorPort: number
  redis: Redis
  accounts: Accounts
  /** Bare Yoga. */
  hello: Helper
  helloPort: number
  /** Bare argon2id. */
  argon2: Helper
  load(job: LoadJob): Promise<LoadResult>
  /** A second generator, for what happens meanwhile. */
  otherLoad(job: LoadJob): Promise<LoadResult>
}

/** Takes every mail, and keeps none. */
async function startMailServer(): Promise<string> {
  const server = new SMTPServer({
    authOptional: true,
    disabledCommands: ['STARTTLS', 'AUTH'],
    onData: (stream, _session, done) => void stream.resume().on('end', () => done()),
  })
  server.listen(0, '127.0.0.1')
  await once(server.server, 'listening')
  onCleanup(() => new Promise<void>((resolve) => server.close(() => resolve())))
  return `smtp://127.0.0.1:${(server.server.address() as AddressInfo).port}`
}

export const SECRET_KEY = 'only-for-measuring-on-a-database-that-is-dropped-afterwards'

const SERVER = {
  NODE_ENV: 'production',
  SECRET_KEY,
  // Every call is counted, and none refused.
  RATE_LIMITS: '*=100000000/1m',
  BREACH_CHECK_URL: 'off',
  // All subscribers come from one address, as one user.
  MAX_SOCKETS_PER_ADDRESS: '10000',
  MAX_SUBSCRIPTIONS_PER_ADDRESS: '10000',
  MAX_SUBSCRIPTIONS_PER_USER: '10000',
}

export async function startServer(
  databaseUrl: string,
  redisUrl: string,
  options: Options,
  env: NodeJS.ProcessEnv = {},
) {
  const port = await freePort()
  const origin = `http://127.0.0.1:${port}`
  const inspectorPort = options.hasProfile ? await freePort() : 0
  const flags = ['--min-semi-space-size=16', ...(options.hasProfile ? [`--inspect=127.0.0.1:${inspectorPort}`] : [])]
  const server = startProgram([...flags, 'dist/main.js'], {
    ...{ PATH: process.env.PATH, ...SERVER, ...env },
    PORT: String(port),
    PUBLIC_URL: origin,
    DATABASE_URL: databaseUrl,
    REDIS_URL: redisUrl,
    SMTP_URL: await startMailServer(),
  })
  const deadline = performance.now() + START_WITHIN_MS
  const isReady = () =>
    fetch(`${origin}/health/ready`).then(
      ({ ok }) => ok,
      () => false,
    )
  while (!(await isReady())) {
    if (server.child.exitCode !== null || performance.now() > deadline) {
      throw new Error(`The server did not start. Was it built (npm run build)?\n${server.tail()}`)
    }
    await sleep(100)
  }
  return { origin, port, inspectorPort }
}

export async function createStorage() {
  const redisUrl = process.env.BENCH_REDIS_URL ?? 'redis://127.0.0.1:6379/9'
  const adminUrl = process.env.BENCH_DATABASE_URL ?? 'postgresql://postgres@127.0.0.1:5432/postgres'
  const redis = await openRedis(redisUrl)
  return { redisUrl, redis, databaseUrl: await createDatabase(adminUrl) }
}

export async function createEnvironment(options: Options): Promise<Environment> {
  const { redisUrl, redis, databaseUrl } = await createStorage()
  const { origin, port, inspectorPort } = await startServer(databaseUrl, redisUrl, options)
  const hello = startHelper('./hello-server.js')
  const { port: helloPort } = await hello.ask<{ port: number }>({})
  const loaders = [startHelper('./load-worker.ts'), startHelper('./load-worker.ts')] as const
  return {
    ...{ options, origin, port, databaseUrl, inspectorPort, redis, hello, helloPort },
    accounts: await createAccounts(databaseUrl, origin),
    argon2: startHelper('./argon2-baseline.js'),
    load: (job) => loaders[0].ask(job),
    otherLoad: (job) => loaders[1].ask(job),
  }
}

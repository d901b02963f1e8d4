import { randomBytes } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Config } from './config.js'
import { createBreachChecker } from './infra/breach-checker.js'
import { startEmbeddedPostgres } from './infra/embedded-postgres.js'
import { openGeoLocator } from './infra/geo.js'
import { createMailbox } from './infra/mailbox.js'
import { createSmtpMailer } from './infra/mailer.js'
import { createMemoryBus, createMemoryRateLimitStore } from './infra/memory.js'
import { createMetrics } from './infra/metrics.js'
import { applyMigrations } from './infra/migrate.js'
import { createPasswordEstimator } from './infra/password-estimator.js'
import { createPasswordHasher } from './infra/password-hasher.js'
import { connectPostgres } from './infra/postgres.js'
import { connectRedis, type RedisConnection } from './infra/redis.js'
import { createRedisBus } from './infra/redis-bus.js'
import { createRedisCache } from './infra/redis-cache.js'
import { createRedisRateLimitStore } from './infra/redis-rate-limits.js'
import { createJobs } from './jobs/index.js'
import type { BreachChecker, Cache, Clock, Log } from './ports.js'
import { createServices } from './services/index.js'

/** What a test may put in place of the real thing. */
export interface Replacements {
  clock?: Clock
  breaches?: BreachChecker
  /** Prefix of every key and channel in Redis; several installations may share one. */
  redisPrefix?: string
}

/** Where links and tokens say that the server is. Known at the latest when it listens. */
export interface Urls {
  public(): string
  frontend(): string
}

const MIGRATIONS = fileURLToPath(new URL('../prisma/migrations', import.meta.url))
const OWNER_ONLY = 0o600

/** Without Redis nothing would tell one process what another has changed: every request asks the database. */
const NO_CACHE: Cache = {
  read: async (keys) => keys.map(() => null),
  fill: async () => {},
  invalidate: async () => {},
}

/** The configured keys, or one that is generated once into the data directory. */
async function secretKeysOf({ secretKeys, dataDir }: Config): Promise<readonly string[]> {
  if (secretKeys) return secretKeys
  const file = join(dataDir, 'secret.key')
  await mkdir(dataDir, { recursive: true })
  await writeFile(file, randomBytes(48).toString('base64url'), { mode: OWNER_ONLY, flag: 'wx' }).catch((error) => {
    if (error.code !== 'EEXIST') throw error
  })
  return [(await readFile(file, 'utf8')).trim()]
}

const adaptersOf = (
  redis: RedisConnection | null,
  prefix: string,
  log: Log,
  onRead: (hits: number, misses: number) => void,
) => {
  const local = createMemoryRateLimitStore()
  if (!redis) return { cache: NO_CACHE, limiter: local, bus: createMemoryBus(log), closeBus: () => {} }
  const bus = createRedisBus(redis, { prefix, log })
  return {
    cache: createRedisCache(redis, { prefix, onRead }),
    limiter: createRedisRateLimitStore(redis, local, { prefix }),
    bus,
    closeBus: () => bus.close(),
  }
}

/** Everything below HTTP: adapters, services and jobs, connected and migrated. */
export async function createRuntime(config: Config, log: Log, urls: Urls, replacements: Replacements = {}) {
  const clock = replacements.clock ?? { now: () => new Date() }
  const secretKeys = await secretKeysOf(config)
  const embedded = config.database.url ? null : await startEmbeddedPostgres(config.dataDir, log)
  const metrics = createMetrics()
  const url = config.database.url ?? embedded?.url ?? ''
  const db = connectPostgres({ url, poolSize: config.database.poolSize, log, onQuery: () => metrics.databaseQuery() })
  const redis = config.redisUrls ? connectRedis(config.redisUrls, log) : null
  const { closeBus, ...adapters } = adaptersOf(redis, replacements.redisPrefix ?? 'portcullis:', log, metrics.cacheRead)
  const hasher = createPasswordHasher(config.hashing)
  const estimator = createPasswordEstimator()
  metrics.watch('hash_queue_depth', 'Passwords that wait to be hashed.', hasher.depth)

  const applied = await applyMigrations(db.pool, MIGRATIONS)
  if (applied.length > 0) log.info({ applied }, 'The database was migrated')
  const jobs = createJobs({ execute: (text, values) => db.pool.query(text, values), log })
  await jobs.prepare()

  const smtp = config.mail.smtpUrl ? createSmtpMailer(config.mail.smtpUrl, config.mail.from) : null
  const mailbox = smtp ? null : createMailbox({ sql: db.sql, clock })
  const breaches = replacements.breaches ?? createBreachChecker(config.passwords.breachCheckUrl)
  const geo = await openGeoLocator(config.geoipDatabase)
  const services = createServices({
    ...{ config, secretKeys, publicUrl: urls.public, frontendUrl: urls.frontend },
    ...{ db, clock, ...adapters, hasher, estimator, breaches, geo, jobs, log },
  })
  await services.signingKeys.prepare()
  metrics.watch('event_subscribers', 'Subscriptions that follow the audit log.', services.feed.subscribers)

  return {
    ...{ config, log, clock, db, redis, jobs, services, metrics, mailbox, geo },
    /** The migrations that this start has applied. */
    applied,
    mailer: smtp ?? (mailbox as NonNullable<typeof mailbox>),
    /** Ends what was begun, the latest first. */
    async close(): Promise<void> {
      await jobs.stop()
      await services.detection.stop()
      await services.feed.stop()
      smtp?.close()
      await Promise.all([hasher.close(), estimator.close()])
      closeBus()
      redis?.close()
      await db.close()
      await embedded?.stop()
    },
  }
}

export type Runtime = Awaited<ReturnType<typeof createRuntime>>

import { randomBytes, randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { link, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Config } from './config.js'
import { createBreachChecker } from './infra/breach-checker.js'
import { rethrowIfItsFault } from './infra/database-problems.js'
import { startEmbeddedPostgres } from './infra/embedded-postgres.js'
import { openGeoLocator } from './infra/geo.js'
import { createMailbox } from './infra/mailbox.js'
import { createSmtpMailer } from './infra/mailer.js'
import { createMemoryBus, createMemoryRateLimitStore } from './infra/memory.js'
import { createMetrics } from './infra/metrics.js'
import { applyMigrations } from './infra/migrate.js'
import { createPasswordEstimator } from './infra/password-estimator.js'
import { createPasswordHasher } from './infra/password-hasher.js'
import { connectPostgres, isDatabaseUnavailable } from './infra/postgres.js'
import { connectRedis, type RedisConnection } from './infra/redis.js'
import { createRedisBus } from './infra/redis-bus.js'
import { createRedisCache } from './infra/redis-cache.js'
import { createRedisRateLimitStore } from './infra/redis-rate-limits.js'
import { createJobs } from './jobs/index.js'
import type { BreachChecker, Cache, Clock, Log, PasswordEstimator } from './ports.js'
import { createServices } from './services/index.js'

/** What a test may put in place of the real thing. */
export interface Replacements {
  clock?: Clock
  breaches?: BreachChecker
  /** Threads that several servers of one process share; whoever gives them ends them. */
  hasher?: ReturnType<typeof createPasswordHasher>
  estimator?: PasswordEstimator
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
const OWNER_ONLY_DIRECTORY = 0o700
const MIN_SECRET_BYTES = 32

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
  if (!existsSync(file)) {
    await mkdir(dataDir, { recursive: true, mode: OWNER_ONLY_DIRECTORY })
    // Whole or not at all, whoever is killed meanwhile; of several that start at once, the first one's.
    const draft = `${file}.${randomUUID()}`
    await writeFile(draft, randomBytes(48).toString('base64url'), { mode: OWNER_ONLY, flush: true })
    await link(draft, file).catch((error) => {
      if (error.code !== 'EEXIST') throw error
    })
    await rm(draft)
  }
  const secret = (await readFile(file, 'utf8')).trim()
  if (Buffer.byteLength(secret) < MIN_SECRET_BYTES)
    throw new Error(`${file} does not hold a secret: restore or remove it`)
  return [secret]
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

type Ending = () => unknown

/** Ends what was begun, the latest first. What fails keeps nothing else from ending. */
async function unwind(endings: Ending[], log: Log): Promise<void> {
  for (let end = endings.pop(); end; end = endings.pop()) {
    try {
      await end()
    } catch (error) {
      log.error({ err: error }, 'Something did not end as it should')
    }
  }
}

/** Where links lead; where nothing says so, to a server on this machine. */
export const urlsOf = ({ urls, port }: Config, listensOn = () => port): Urls => {
  const publicUrl = () => urls.public ?? `http://localhost:${listensOn()}`
  return { public: publicUrl, frontend: () => urls.frontend ?? publicUrl() }
}

const applyTo = (url: string, log: Log) => applyMigrations({ url, directory: MIGRATIONS, log })

/** Brings the database up to date, and makes or reads nothing else, no key above all. Returns what it has applied. */
export async function migrate({ database, dataDir }: Config, log: Log): Promise<string[]> {
  if (database.url) return applyTo(database.url, log)
  const embedded = await startEmbeddedPostgres(dataDir, log)
  return applyTo(embedded.url, log).finally(embedded.stop)
}

/** Everything below HTTP: adapters, services and jobs, connected and migrated. What fails to begin leaves nothing behind. */
export async function createRuntime(config: Config, log: Log, urls: Urls, replacements: Replacements = {}) {
  const endings: Ending[] = []
  try {
    return await assemble(config, log, urls, replacements, endings)
  } catch (error) {
    await unwind(endings, log)
    throw error
  }
}

async function assemble(config: Config, log: Log, urls: Urls, replacements: Replacements, endings: Ending[]) {
  const clock = replacements.clock ?? { now: () => new Date() }
  const begun = <T>(part: T, end: (part: T) => unknown): T => {
    endings.push(() => end(part))
    return part
  }
  const secretKeys = await secretKeysOf(config)
  const embedded = config.database.url
    ? null
    : begun(await startEmbeddedPostgres(config.dataDir, log), (database) => database.stop())
  const metrics = createMetrics()
  const url = config.database.url ?? embedded?.url ?? ''
  const db = begun(
    connectPostgres({ url, poolSize: config.database.poolSize, log, onQuery: metrics.databaseQuery }),
    (each) => each.close(),
  )
  const redis = config.redisUrls ? begun(connectRedis(config.redisUrls, log), (each) => each.close()) : null
  const prefix = replacements.redisPrefix ?? 'portcullis:'
  const { closeBus, ...adapters } = begun(adaptersOf(redis, prefix, log, metrics.cacheRead), (all) => all.closeBus())
  const hasher = replacements.hasher ?? begun(createPasswordHasher(config.hashing), (each) => each.close())
  const estimator = replacements.estimator ?? begun(createPasswordEstimator(), (each) => each.close())
  metrics.watch('hash_queue_depth', 'Passwords that wait to be hashed.', hasher.depth)

  const applied = await applyTo(url, log)
  if (applied.length > 0) log.info({ applied }, 'The database was migrated')
  const execute = (text: string, values?: unknown[]) => db.pool.query(text, values)
  const jobs = createJobs({ execute, isOutage: isDatabaseUnavailable, log })

  const { smtpUrl, from } = config.mail
  const smtp = smtpUrl ? begun(createSmtpMailer(smtpUrl, from), (each) => each.close()) : null
  const mailbox = smtp ? null : createMailbox({ sql: db.sql, clock })
  const breaches = replacements.breaches ?? createBreachChecker(config.passwords.breachCheckUrl)
  const geo = await openGeoLocator(config.geoipDatabase, log)
  const services = createServices({
    config,
    secretKeys,
    publicUrl: urls.public,
    frontendUrl: urls.frontend,
    db,
    clock,
    ...adapters,
    hasher,
    estimator,
    breaches,
    geo,
    jobs,
    log,
  })
  begun(services.endSigning, (end) => end())
  begun(services.feed, (feed) => feed.stop())
  begun(services.detection, (detection) => detection.stop())
  begun(jobs, (each) => each.stop())
  await jobs.prepare().catch(rethrowIfItsFault(url))
  await services.signingKeys.prepare().catch(rethrowIfItsFault(url))
  metrics.watch('event_subscribers', 'Subscriptions that follow the audit log.', services.feed.subscribers)

  return {
    config,
    clock,
    db,
    redis,
    jobs,
    services,
    metrics,
    mailbox,
    geo,
    mailer: smtp ?? (mailbox as NonNullable<typeof mailbox>),
    /** Ends what was begun, the latest first. */
    close: () => unwind(endings, log),
  }
}

export type Runtime = Awaited<ReturnType<typeof createRuntime>>

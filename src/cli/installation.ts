import { randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Config, loadConfig } from '../config.js'
import { runningPostgresUrl } from '../infra/embedded-postgres.js'
import { createLog } from '../infra/log.js'
import { createRuntime, migrate, type Runtime, urlsOf } from '../runtime.js'
import { byServer, type Client } from '../services/client.js'
import type { Host } from './host.js'

const REDIS_ATTEMPTS = 20
const REDIS_RETRY_MS = 100

/** The embedded database belongs to one process: where a server runs, it is that server's. */
async function findDatabase(config: Config, { stderr }: Host): Promise<Config> {
  const url = config.database.url ?? (await runningPostgresUrl(config.dataDir)) ?? undefined
  if (!url && !existsSync(config.dataDir)) {
    stderr.write(`There is nothing in ${config.dataDir}: this makes a new installation, beside that of any server.\n`)
  }
  return { ...config, database: { ...config.database, url } }
}

async function isReachable(redis: NonNullable<Runtime['redis']>): Promise<boolean> {
  for (let attempt = 1; attempt <= REDIS_ATTEMPTS; attempt += 1) {
    if (await redis.isReachable()) return true
    await sleep(REDIS_RETRY_MS)
  }
  return false
}

async function readSettings(host: Host) {
  const config = await findDatabase(loadConfig(host.env), host)
  const level = config.log.level === 'info' ? 'warn' : config.log.level
  return { config, log: createLog({ ...config.log, level }, host.stderr) }
}

/** Migrates the database of the installation. It needs no key, and makes none: deployments may not have the server's. */
export async function migrateInstallation(host: Host): Promise<string[]> {
  const { config, log } = await readSettings(host)
  return migrate(config, log)
}

/**
 * Connects to the installation that the environment describes, migrates its database, does the work and disconnects.
 * Mails that the work causes are enqueued; a server sends them. `operator` stands in the audit log as who did it.
 */
export async function withInstallation<T>(
  host: Host,
  work: (runtime: Runtime, operator: Client) => Promise<T>,
): Promise<T> {
  const { config, log } = await readSettings(host)
  const runtime = await createRuntime(config, log, urlsOf(config), host.replacements)
  try {
    if (runtime.redis && !(await isReachable(runtime.redis))) {
      log.warn({}, 'Redis is not reachable: servers that reach it may not notice a change for a while')
    }
    return await work(runtime, byServer(`cli-${randomUUID()}`))
  } finally {
    await runtime.close()
  }
}

import { randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Config, loadConfig } from '../config.js'
import { runningPostgresUrl } from '../infra/embedded-postgres.js'
import { createLog } from '../infra/log.js'
import { lockStart } from '../infra/start-lock.js'
import { createRuntime, migrate, type Runtime, urlsOf } from '../runtime.js'
import { byServer, type Client } from '../services/client.js'
import type { Host } from './host.js'

const REDIS_ATTEMPTS = 20
const REDIS_RETRY_MS = 100

type Log = ReturnType<typeof createLog>

/** The embedded database belongs to one process: where a server runs, it is that server's. */
async function onDatabase<T>(host: Host, work: (config: Config, log: Log) => Promise<T>): Promise<T> {
  const config = loadConfig(host.env)
  const level = config.log.level === 'info' ? 'warn' : config.log.level
  const log = createLog({ ...config.log, level }, host.stderr)
  if (config.database.url) return work(config, log)
  if (!existsSync(config.dataDir)) {
    host.stderr.write(
      `There is nothing in ${config.dataDir}: this makes a new installation, beside that of any server.\n`,
    )
  }
  let unlock = await lockStart(config.dataDir, () =>
    host.stderr.write('Another command, or a server that starts, uses the embedded database: waiting for it.\n'),
  )
  try {
    const url = await runningPostgresUrl(config.dataDir)
    if (!url) return await work(config, log)
    unlock()
    unlock = () => {}
    return await work({ ...config, database: { ...config.database, url } }, log)
  } finally {
    unlock()
  }
}

async function isReachable(redis: NonNullable<Runtime['redis']>): Promise<boolean> {
  for (let attempt = 1; attempt <= REDIS_ATTEMPTS; attempt += 1) {
    if (await redis.isReachable()) return true
    await sleep(REDIS_RETRY_MS)
  }
  return false
}

/** Migrates the database of the installation. It needs no key, and makes none: deployments may not have the server's. */
export const migrateInstallation = (host: Host): Promise<string[]> => onDatabase(host, migrate)

/**
 * Connects to the installation that the environment describes, migrates its database, does the work and disconnects.
 * Mails that the work causes are enqueued; a server sends them. `operator` stands in the audit log as who did it.
 */
export function withInstallation<T>(host: Host, work: (runtime: Runtime, operator: Client) => Promise<T>): Promise<T> {
  return onDatabase(host, async (config, log) => {
    const runtime = await createRuntime(config, log, urlsOf(config), host.replacements)
    try {
      if (runtime.redis && !(await isReachable(runtime.redis))) {
        log.warn({}, 'Redis is not reachable: servers that reach it may not notice a change for a while')
      }
      return await work(runtime, byServer(`cli-${randomUUID()}`))
    } finally {
      await runtime.close()
    }
  })
}

// Applies prisma/migrations at the start of the server, without the Prisma CLI. It leaves the same records, so that
// `prisma migrate status|dev|deploy` agree.
import { createHash, randomUUID } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import type { Log } from '../ports.js'
import { inspectDatabase } from './database-inspection.js'
import { rethrowIfItsFault, rethrowNamed } from './database-problems.js'
import { sessionSettings } from './postgres-session.js'

/** The advisory lock of Prisma's own engine: a deployment by the CLI and a starting server exclude each other. */
const MIGRATION_LOCK = 72_707_369
const MIGRATION_LOCK_RETRY_MS = 200
const CONNECT_TIMEOUT_MS = 5_000
const KEEP_ALIVE_MS = 10_000

/** How long a migration waits for the locks of tables. */
interface Patience {
  /** For one lock: whoever comes for the table meanwhile, if only to read, waits behind it. */
  lockMs: number
  /** Between two tries, so that those get their turn. */
  pauseMs: number
  /** Since the first try. */
  totalMs: number
}
const PATIENCE: Patience = { lockMs: 2_000, pauseMs: 5_000, totalMs: 15 * 60_000 }

/** No lock in time, or a deadlock that ended this side of it. */
const BUSY: readonly unknown[] = ['55P03', '40P01']

const CREATE_RECORDS = `CREATE TABLE IF NOT EXISTS _prisma_migrations (
  id VARCHAR(36) PRIMARY KEY NOT NULL, checksum VARCHAR(64) NOT NULL, finished_at TIMESTAMPTZ,
  migration_name VARCHAR(255) NOT NULL, logs TEXT, rolled_back_at TIMESTAMPTZ,
  started_at TIMESTAMPTZ NOT NULL DEFAULT now(), applied_steps_count INTEGER NOT NULL DEFAULT 0)`

interface Migration {
  name: string
  sql: string
  checksum: string
}

interface MigrationRecord {
  migration_name: string
  checksum: string
  finished_at: Date | null
}

interface Target {
  url: string
  /** Where the migrations are. */
  directory: string
  log: Log
}

/**
 * Brings the database up to date and returns the names of what it applied. Any number of servers may start at once. It has
 * a connection of its own: those of the server give up what takes as long as a migration may.
 * Throws, with the database unchanged by the failing migration, when the records and the directory do not fit together.
 */
export async function applyMigrations({ url, directory, log }: Target, patience = PATIENCE): Promise<string[]> {
  const migrations = await readMigrations(directory)
  const client = new pg.Client({
    connectionString: url,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    application_name: 'portcullis',
    keepAlive: true,
    keepAliveInitialDelayMillis: KEEP_ALIVE_MS,
  })
  // A lost connection also fails the statement that waits for it; unheard, the event would end the process.
  client.on('error', () => undefined)
  try {
    await client.connect().catch(rethrowTimeout).catch(rethrowNamed(url))
    await inspectDatabase(client, url)
    await client.query(sessionSettings({ lock_timeout: patience.lockMs }))
    await lock(client, log)
    try {
      const pending = findPending(migrations, await readRecords(client))
      for (const migration of pending) await applyWhenFree(client, migration, patience, log)
      return pending.map(({ name }) => name)
    } finally {
      await unlock(client)
    }
  } catch (error) {
    return rethrowIfItsFault(url)(error as Error)
  } finally {
    await client.end()
  }
}

/** By its code like any other failure to connect: pg has only words for this one. */
function rethrowTimeout(error: Error): never {
  throw error.message === 'timeout expired' ? Object.assign(error, { code: 'ETIMEDOUT' }) : error
}

async function readMigrations(directory: string): Promise<Migration[]> {
  const entries = await readdir(directory, { withFileTypes: true })
  const names = entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name)
  return Promise.all(
    names.sort().map(async (name) => {
      const sql = await readFile(join(directory, name, 'migration.sql'), 'utf8')
      return { name, sql, checksum: createHash('sha256').update(sql).digest('hex') }
    }),
  )
}

/**
 * Asks again and again: a waiting pg_advisory_lock would hold a snapshot, for which some migrations would wait in turn. And
 * for as long as it takes: the other one may have a large table before it, or a backup that has to end first.
 */
async function lock(client: pg.Client, log: Log): Promise<void> {
  for (let isFirst = true; ; isFirst = false) {
    const { rows } = await client.query<{ isOurs: boolean }>('SELECT pg_try_advisory_lock($1) AS "isOurs"', [
      MIGRATION_LOCK,
    ])
    if (rows[0]?.isOurs) return
    if (isFirst) log.info({}, 'Another process migrates the database: this one waits for it')
    await sleep(MIGRATION_LOCK_RETRY_MS)
  }
}

/** It would end with the connection, but that is not ours to end where a pooler is in between. */
async function unlock(client: pg.Client): Promise<void> {
  await client.query('SELECT pg_advisory_unlock($1)', [MIGRATION_LOCK]).catch(() => undefined)
}

async function readRecords(client: pg.Client): Promise<MigrationRecord[]> {
  // Asked first: without the privilege to create tables, an up-to-date database is still good to start on.
  const { rows: tables } = await client.query<{ exists: boolean }>(
    `SELECT to_regclass('_prisma_migrations') IS NOT NULL AS exists`,
  )
  if (!tables[0]?.exists) await client.query(CREATE_RECORDS)
  const { rows } = await client.query<MigrationRecord>(
    'SELECT migration_name, checksum, finished_at FROM _prisma_migrations WHERE rolled_back_at IS NULL',
  )
  return rows
}

function findPending(migrations: Migration[], records: MigrationRecord[]): Migration[] {
  const known = new Map(migrations.map((migration) => [migration.name, migration]))
  for (const { migration_name: name, checksum, finished_at } of records) {
    const migration = known.get(name)
    if (!migration) {
      throw new Error(
        `The database has the migration ${name}, which this version does not know: it needs a newer version`,
      )
    }
    if (!finished_at) throw new Error(`The migration ${name} has failed before: see "prisma migrate resolve"`)
    if (migration.checksum !== checksum) throw new Error(`The migration ${name} was changed after it had been applied`)
  }
  const applied = new Set(records.map((record) => record.migration_name))
  return migrations.filter(({ name }) => !applied.has(name))
}

/** Tries until no lock is in the way. What the others do, who use the tables, goes on in between. */
async function applyWhenFree(client: pg.Client, migration: Migration, patience: Patience, log: Log): Promise<void> {
  const { name } = migration
  const deadline = performance.now() + patience.totalMs
  for (let isFirst = true; ; isFirst = false) {
    try {
      return await apply(client, migration)
    } catch (error) {
      const { code, message = String(error) } = error as { code?: unknown; message?: string }
      if (!BUSY.includes(code))
        throw new Error(`The migration ${name} failed and was rolled back: ${message}`, { cause: error })
      // Without its cause, which would say that the database is away.
      if (performance.now() >= deadline) throw new Error(describeBusy(name, patience.totalMs, message))
      if (isFirst)
        log.warn(
          { migration: name, reason: message },
          'A migration waits for whoever uses its tables, such as a backup',
        )
      await sleep(patience.pauseMs)
    }
  }
}

const describeBusy = (name: string, totalMs: number, reason: string) =>
  `The migration ${name} got no lock on a table for ${Math.round(totalMs / 60_000)} minutes, and nothing of it was applied ` +
  `(${reason}): wait for what uses the table, or end it (a backup, a long transaction; see pg_stat_activity), and start again`

/** One transaction for the script and its record: all or nothing. */
async function apply(client: pg.Client, { name, sql, checksum }: Migration): Promise<void> {
  const id = randomUUID()
  await client.query('BEGIN')
  try {
    // Whatever is usual in this database: an index on millions of rows takes its time.
    await client.query('SET LOCAL statement_timeout = 0')
    await client.query('INSERT INTO _prisma_migrations (id, checksum, migration_name) VALUES ($1, $2, $3)', [
      id,
      checksum,
      name,
    ])
    await client.query(sql)
    await client.query(
      'UPDATE _prisma_migrations SET finished_at = clock_timestamp(), applied_steps_count = 1 WHERE id = $1',
      [id],
    )
    await client.query('COMMIT')
  } catch (error) {
    await client.query('ROLLBACK').catch(() => undefined)
    throw error
  }
}

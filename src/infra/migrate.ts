// Applies prisma/migrations at the start of the server, without the Prisma CLI. It leaves the same records, so that
// `prisma migrate status|dev|deploy` agree.
import { createHash, randomUUID } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Pool, PoolClient } from 'pg'

/** The advisory lock of Prisma's own engine: a deployment by the CLI and a starting server exclude each other. */
const MIGRATION_LOCK = 72_707_369
const LOCK_TIMEOUT_MS = 120_000
const LOCK_RETRY_MS = 200

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

/**
 * Brings the database up to date and returns the names of what it applied. Any number of servers may start at once.
 * Throws, with the database unchanged by the failing migration, when the records and the directory do not fit together.
 */
export async function applyMigrations(pool: Pool, directory: string): Promise<string[]> {
  const migrations = await readMigrations(directory)
  const client = await pool.connect()
  // A lost connection also fails the statement that waits for it; unheard, the event would end the process.
  const ignore = () => undefined
  client.on('error', ignore)
  let failure: Error | undefined
  try {
    await lock(client)
    const pending = findPending(migrations, await readRecords(client))
    for (const migration of pending) await apply(client, migration)
    return pending.map(({ name }) => name)
  } catch (error) {
    failure = error instanceof Error ? error : new Error(String(error))
    throw failure
  } finally {
    // Not ours yet, or on a broken connection, it is only a warning; a connection that failed is not used again.
    await client.query('SELECT pg_advisory_unlock($1)', [MIGRATION_LOCK]).catch(ignore)
    client.off('error', ignore)
    client.release(failure)
  }
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

/** Asks again and again: a waiting pg_advisory_lock would hold a snapshot, for which some migrations would wait in turn. */
async function lock(client: PoolClient): Promise<void> {
  const deadline = performance.now() + LOCK_TIMEOUT_MS
  while (performance.now() < deadline) {
    const { rows } = await client.query<{ isOurs: boolean }>('SELECT pg_try_advisory_lock($1) AS "isOurs"', [
      MIGRATION_LOCK,
    ])
    if (rows[0]?.isOurs) return
    await sleep(LOCK_RETRY_MS)
  }
  throw new Error(`Another process has been migrating the database for ${LOCK_TIMEOUT_MS / 1000} seconds`)
}

async function readRecords(client: PoolClient): Promise<MigrationRecord[]> {
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

/** One transaction for the script and its record: all or nothing. */
async function apply(client: PoolClient, { name, sql, checksum }: Migration): Promise<void> {
  const id = randomUUID()
  await client.query('BEGIN')
  // The pool's limits are for requests: an index on millions of rows takes its time.
  await client.query('SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0')
  try {
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
    const reason = error instanceof Error ? error.message : String(error)
    throw new Error(`The migration ${name} failed and was rolled back: ${reason}`, { cause: error })
  }
}

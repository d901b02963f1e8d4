import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../src/infra/embedded-postgres.js'
import { applyMigrations } from '../../src/infra/migrate.js'
import { isDatabaseUnavailable } from '../../src/infra/postgres.js'
import type { Log } from '../../src/ports.js'
import { lockDatabase } from '../support/database-lock.js'
import { eventually } from '../support/eventually.js'
import { createTestLog } from '../support/log.js'
import { THROWAWAY_FLAGS } from '../support/throwaway.js'

// Each start is a program of its own, on a machine that may be busy.

const SILENT: Log = { debug() {}, info() {}, warn() {}, error() {} }
const OUR_MIGRATIONS = fileURLToPath(new URL('../../prisma/migrations', import.meta.url))

let folder: string
let database: EmbeddedPostgres
let admin: pg.Pool
let databases = 0

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'portcullis-migrate-'))
  database = await startEmbeddedPostgres(join(folder, 'data'), SILENT, { flags: THROWAWAY_FLAGS })
  admin = createPool(database.url)
})

afterAll(async () => {
  await admin.end()
  await database.stop()
  rmSync(folder, { recursive: true })
})

let url: string
let pool: pg.Pool
let migrations: string
const pools: pg.Pool[] = []

function createPool(connectionString: string): pg.Pool {
  const created = new pg.Pool({ connectionString, max: 1 })
  // A pool says that it has ended before its connections have: PostgreSQL may still tell them that it shuts down.
  created.on('error', () => undefined)
  return created
}

/** A server of its own has a pool of its own. */
function openPool(): pg.Pool {
  const opened = createPool(url)
  pools.push(opened)
  return opened
}

function writeMigration(name: string, sql: string): void {
  mkdirSync(join(migrations, name), { recursive: true })
  writeFileSync(join(migrations, name, 'migration.sql'), sql)
}

const migrate = () => applyMigrations({ url, directory: migrations, log: SILENT })

const isLockFree = async () => (await openPool().query('SELECT pg_try_advisory_lock(72707369) AS free')).rows[0].free

async function tables(): Promise<string[]> {
  const { rows } = await pool.query<{ name: string }>(
    `SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public' AND tablename <> '_prisma_migrations' ORDER BY 1`,
  )
  return rows.map(({ name }) => name)
}

beforeEach(async () => {
  const name = `migrate_${++databases}`
  await admin.query(`CREATE DATABASE ${name}`)
  url = Object.assign(new URL(database.url), { pathname: `/${name}` }).href
  pool = openPool()
  migrations = join(folder, name)
  writeMigration('1_first', 'CREATE TABLE first (id int); INSERT INTO first VALUES (1);')
  writeMigration(
    '2_second',
    `CREATE FUNCTION two() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM 1; RETURN 2; END $$;`,
  )
})

afterEach(async () => {
  await Promise.all(pools.splice(0).map((opened) => opened.end()))
})

describe('migrations', () => {
  it('lets a migration take longer than a request may', async () => {
    writeMigration('1_slow', 'CREATE TABLE slow (id int); SELECT pg_sleep(2.5)')
    await pool.query(
      `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET statement_timeout = 2000', current_database()); END $$`,
    )
    expect(await migrate()).toContain('1_slow')
    expect((await openPool().query('SHOW statement_timeout')).rows).toEqual([{ statement_timeout: '2s' }])
  })

  it('are applied in the order of their names, once', async () => {
    expect(await migrate()).toEqual(['1_first', '2_second'])
    expect(await migrate()).toEqual([])
    writeMigration('3_third', 'ALTER TABLE first ADD COLUMN name text')
    expect(await migrate()).toEqual(['3_third'])
    expect((await pool.query('SELECT id, name, two() FROM first')).rows).toEqual([{ id: 1, name: null, two: 2 }])
  })

  it('of this repository apply to an empty database', async () => {
    expect(await applyMigrations({ url, directory: OUR_MIGRATIONS, log: SILENT })).not.toEqual([])
    expect(await tables()).toContain('users')
  })

  it('are applied by exactly one of four servers that start at once', async () => {
    const outcomes = await Promise.all([1, 2, 3, 4].map(() => migrate()))
    expect(outcomes.toSorted((a, b) => b.length - a.length)).toEqual([['1_first', '2_second'], [], [], []])
    expect((await pool.query('SELECT id FROM first')).rows).toEqual([{ id: 1 }])
  })

  it('are refused when one was changed after it had been applied', async () => {
    await migrate()
    writeMigration('1_first', 'CREATE TABLE first (id bigint)')
    writeMigration('3_third', 'CREATE TABLE third (id int)')
    await expect(migrate()).rejects.toThrow('The migration 1_first was changed after it had been applied')
    expect(await tables()).toEqual(['first'])
  })

  it('are refused when the database belongs to a newer version', async () => {
    await migrate()
    rmSync(join(migrations, '2_second'), { recursive: true })
    await expect(migrate()).rejects.toThrow(
      'The database has the migration 2_second, which this version does not know: it needs a newer version',
    )
  })

  it('are refused when one failed under another tool, until that is resolved', async () => {
    await migrate()
    await pool.query(`UPDATE _prisma_migrations SET finished_at = NULL WHERE migration_name = '2_second'`)
    await expect(migrate()).rejects.toThrow('The migration 2_second has failed before')
    await pool.query(
      `DROP FUNCTION two; UPDATE _prisma_migrations SET rolled_back_at = now() WHERE finished_at IS NULL`,
    )
    expect(await migrate()).toEqual(['2_second'])
  })

  it('that are all there need no privilege to make tables', async () => {
    await migrate()
    const role = `reader_${databases}`
    await pool.query(`CREATE ROLE ${role} LOGIN PASSWORD 'reader'; GRANT SELECT ON _prisma_migrations TO ${role}`)
    url = Object.assign(new URL(url), { username: role, password: 'reader' }).href
    expect(await migrate()).toEqual([])
  })

  it('are rolled back with their record when they fail, and can be corrected', async () => {
    writeMigration('3_third', 'CREATE TABLE third (id int); SELECT 1 / 0;')
    await expect(migrate()).rejects.toThrow('The migration 3_third failed and was rolled back: division by zero')
    expect(await tables()).toEqual(['first'])
    writeMigration('3_third', 'CREATE TABLE third (id int)')
    expect(await migrate()).toEqual(['3_third'])
  })

  it('leave the lock free after a failure', async () => {
    writeMigration('3_third', 'SELECT 1 / 0')
    await expect(migrate()).rejects.toThrow('division by zero')
    expect(await isLockFree()).toBe(true)
  })
})

describe('a migration of a table that others use', () => {
  const BACKUP = 'LOCK TABLE first IN ACCESS SHARE MODE'
  const QUICK = { lockMs: 50, pauseMs: 10, totalMs: 60_000 }

  const holding = (statement: string) => lockDatabase({ databaseUrl: url }, statement)
  /** Sequences remember also what was rolled back. */
  const tries = async () => (await pool.query('SELECT last_value::int AS tries FROM tries')).rows[0].tries

  beforeEach(async () => {
    await migrate()
    await pool.query('CREATE SEQUENCE tries')
    writeMigration(
      '3_third',
      `SELECT nextval('tries'); CREATE TABLE third (id int); ALTER TABLE first ADD COLUMN name text`,
    )
  })

  it('lets those through who read it, while a backup holds it', async () => {
    const backup = await holding(BACKUP)
    const migrating = migrate()
    await backup.untilWaiting(1)
    expect((await pool.query('SELECT id FROM first')).rows).toEqual([{ id: 1 }])
    await backup.release()
    expect(await migrating).toEqual(['3_third'])
    expect((await pool.query('SELECT id, name FROM first')).rows).toEqual([{ id: 1, name: null }])
  })

  it('is tried again until it is free, says so once, and leaves nothing behind meanwhile', async () => {
    const backup = await holding(BACKUP)
    const log = createTestLog()
    const migrating = applyMigrations({ url, directory: migrations, log }, QUICK)
    await eventually(async () => (await tries()) > 3).toBe(true)
    expect(await tables()).toEqual(['first'])
    expect((await pool.query('SELECT FROM _prisma_migrations')).rowCount).toBe(2)
    await backup.release()
    expect(await migrating).toEqual(['3_third'])
    expect(log.lines.map((line) => JSON.parse(line))).toMatchObject([
      { level: 'warn', migration: '3_third', msg: 'A migration waits for whoever uses its tables, such as a backup' },
    ])
  })

  it('is given up in the end, with what to do', async () => {
    await holding(BACKUP)
    const error = await applyMigrations({ url, directory: migrations, log: SILENT }, { ...QUICK, totalMs: 0 }).catch(
      (reason) => reason,
    )
    expect(error.message).toMatch(/^The migration 3_third got no lock on a table .* \(canceling statement due to lock/)
    expect(error.message).toMatch(/wait for what uses the table, or end it .* and start again$/)
    // Which would be something else to do.
    expect(isDatabaseUnavailable(error)).toBe(false)
    expect(await tables()).toEqual(['first'])
    expect(await isLockFree()).toBe(true)
  })

  it('is tried again after a deadlock', async () => {
    const deadlock = `RAISE EXCEPTION 'deadlock detected' USING ERRCODE = 'deadlock_detected'`
    writeMigration('3_third', `DO $$ BEGIN IF nextval('tries') < 3 THEN ${deadlock}; END IF; END $$`)
    expect(await applyMigrations({ url, directory: migrations, log: SILENT }, QUICK)).toEqual(['3_third'])
    expect(await tries()).toBe(3)
  })

  it('is waited for by those who start meanwhile, for longer than they wait for a table', async () => {
    const other = await holding('SELECT pg_advisory_xact_lock(72707369)')
    const log = createTestLog()
    const migrating = applyMigrations({ url, directory: migrations, log }, { ...QUICK, totalMs: 0 })
    await eventually(() => log.lines.join()).toContain('Another process migrates the database: this one waits for it')
    await other.release()
    expect(await migrating).toEqual(['3_third'])
    expect(log.lines).toHaveLength(1)
  })
})

it('A server that takes connections and says nothing counts as a database that is away', async () => {
  const silent = createServer().listen(0, '127.0.0.1')
  await once(silent, 'listening')
  const { port } = silent.address() as AddressInfo
  const target = { url: `postgresql://127.0.0.1:${port}/none`, directory: migrations, log: SILENT }
  const error = await applyMigrations(target).catch((reason) => reason)
  expect(isDatabaseUnavailable(error)).toBe(true)
  silent.close()
})

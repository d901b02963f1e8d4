import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type EmbeddedPostgres, startEmbeddedPostgres, THROWAWAY_FLAGS } from '../../src/infra/embedded-postgres.js'
import { applyMigrations } from '../../src/infra/migrate.js'
import type { Log } from '../../src/ports.js'

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
    const hurried = new pg.Pool({ connectionString: url, max: 1, statement_timeout: 2000 })
    pools.push(hurried)
    expect(await applyMigrations(hurried, migrations)).toContain('1_slow')
    expect((await hurried.query('SHOW statement_timeout')).rows).toEqual([{ statement_timeout: '2s' }])
  })

  it('are applied in the order of their names, once', async () => {
    expect(await applyMigrations(pool, migrations)).toEqual(['1_first', '2_second'])
    expect(await applyMigrations(pool, migrations)).toEqual([])
    writeMigration('3_third', 'ALTER TABLE first ADD COLUMN name text')
    expect(await applyMigrations(pool, migrations)).toEqual(['3_third'])
    expect((await pool.query('SELECT id, name, two() FROM first')).rows).toEqual([{ id: 1, name: null, two: 2 }])
  })

  it('of this repository apply to an empty database', async () => {
    expect(await applyMigrations(pool, OUR_MIGRATIONS)).not.toEqual([])
    expect(await tables()).toContain('users')
  })

  it('are applied by exactly one of four servers that start at once', async () => {
    const outcomes = await Promise.all([1, 2, 3, 4].map(() => applyMigrations(openPool(), migrations)))
    expect(outcomes.toSorted((a, b) => b.length - a.length)).toEqual([['1_first', '2_second'], [], [], []])
    expect((await pool.query('SELECT id FROM first')).rows).toEqual([{ id: 1 }])
  })

  it('are refused when one was changed after it had been applied', async () => {
    await applyMigrations(pool, migrations)
    writeMigration('1_first', 'CREATE TABLE first (id bigint)')
    writeMigration('3_third', 'CREATE TABLE third (id int)')
    await expect(applyMigrations(pool, migrations)).rejects.toThrow(
      'The migration 1_first was changed after it had been applied',
    )
    expect(await tables()).toEqual(['first'])
  })

  it('are refused when the database belongs to a newer version', async () => {
    await applyMigrations(pool, migrations)
    rmSync(join(migrations, '2_second'), { recursive: true })
    await expect(applyMigrations(pool, migrations)).rejects.toThrow(
      'The database has the migration 2_second, which this version does not know: it needs a newer version',
    )
  })

  it('are refused when one failed under another tool', async () => {
    await applyMigrations(pool, migrations)
    await pool.query(`UPDATE _prisma_migrations SET finished_at = NULL WHERE migration_name = '2_second'`)
    await expect(applyMigrations(pool, migrations)).rejects.toThrow('The migration 2_second has failed before')
  })

  it('are rolled back with their record when they fail, and can be corrected', async () => {
    writeMigration('3_third', 'CREATE TABLE third (id int); SELECT 1 / 0;')
    await expect(applyMigrations(pool, migrations)).rejects.toThrow(
      'The migration 3_third failed and was rolled back: division by zero',
    )
    expect(await tables()).toEqual(['first'])
    writeMigration('3_third', 'CREATE TABLE third (id int)')
    expect(await applyMigrations(openPool(), migrations)).toEqual(['3_third'])
  })

  it('leave the lock free after a failure', async () => {
    writeMigration('3_third', 'SELECT 1 / 0')
    await expect(applyMigrations(pool, migrations)).rejects.toThrow('division by zero')
    expect((await openPool().query('SELECT pg_try_advisory_lock(72707369) AS free')).rows).toEqual([{ free: true }])
  })
})

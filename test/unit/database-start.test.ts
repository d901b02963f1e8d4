import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../src/infra/embedded-postgres.js'
import { applyMigrations } from '../../src/infra/migrate.js'
import { connectPostgres } from '../../src/infra/postgres.js'
import type { Log } from '../../src/ports.js'
import { THROWAWAY_FLAGS } from '../support/throwaway.js'

const SILENT: Log = { debug() {}, info() {}, warn() {}, error() {} }

let folder: string
let directory: string
let database: EmbeddedPostgres
let admin: pg.Client
let databases = 0
let name: string
let url: string

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'portcullis-database-'))
  database = await startEmbeddedPostgres(join(folder, 'data'), SILENT, { flags: THROWAWAY_FLAGS })
  admin = new pg.Client(database.url)
  await admin.connect()
  directory = join(folder, 'migrations')
  mkdirSync(join(directory, '1_first'), { recursive: true })
  writeFileSync(join(directory, '1_first', 'migration.sql'), 'CREATE TABLE first (id int)')
})

afterAll(async () => {
  await admin.end()
  await database.stop()
  rmSync(folder, { recursive: true })
})

const at = (parts: Partial<URL>) => Object.assign(new URL(database.url), parts).href

async function create(how = ''): Promise<void> {
  name = `start_${++databases}`
  url = at({ pathname: `/${name}` })
  await admin.query(`CREATE DATABASE ${name} ${how}`)
}

beforeEach(() => create())

const migrate = (target = url) => applyMigrations({ url: target, directory, log: SILENT })

async function ask(text: string) {
  const client = new pg.Client(url)
  await client.connect()
  return (await client.query(text).finally(() => client.end())).rows
}

describe('a database that cannot be used is refused before anything is written', () => {
  const refusal = async (target = url) => {
    const { message } = await migrate(target).catch((error) => error)
    expect(
      await ask(`SELECT tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')`),
    ).toEqual([])
    return message
  }

  it('where its encoding lacks letters', async () => {
    await create(`ENCODING 'LATIN1' TEMPLATE template0`)
    expect(await refusal()).toMatch(
      /^The database of DATABASE_URL cannot be used: its encoding is LATIN1.* ENCODING 'UTF8'/,
    )
  })

  it('where it takes no writes', async () => {
    await admin.query(`ALTER DATABASE ${name} SET default_transaction_read_only = on`)
    expect(await refusal()).toContain('it takes no writes')
  })

  it('where its URL wants another schema', async () => {
    expect(await refusal(`${url}${url.includes('?') ? '&' : '?'}schema=auth`)).toContain('remove schema=auth')
  })

  it('where search_path leads elsewhere', async () => {
    await ask('CREATE SCHEMA auth')
    await admin.query(`ALTER DATABASE ${name} SET search_path = auth, public`)
    expect(await refusal()).toContain('search_path leads to auth')
  })

  it('where a pooler hands out connections by the transaction', async () => {
    const { query } = pg.Client.prototype
    const pooling = vi.spyOn(pg.Client.prototype, 'query').mockImplementation(function (
      this: pg.Client,
      ...args: unknown[]
    ) {
      if (args[0] === 'SELECT pg_backend_pid() AS pid') return Promise.resolve({ rows: [{ pid: 1 }] })
      return Reflect.apply(query, this, args)
    } as typeof query)
    onTestFinished(() => pooling.mockRestore())
    expect(await refusal()).toContain('It needs session pooling')
  })

  it('where the role may not make tables, with what to grant', async () => {
    await admin.query(`CREATE ROLE ${name}_guest LOGIN PASSWORD 'guest'`)
    expect(await refusal(at({ pathname: `/${name}`, username: `${name}_guest`, password: 'guest' }))).toContain(
      `permission denied for schema public. GRANT CONNECT, CREATE ON DATABASE "${name}" TO "${name}_guest"; GRANT USAGE, CREATE`,
    )
  })
})

it.each([
  [
    'role',
    () => at({ username: 'nobody' }),
    /^The database of DATABASE_URL cannot be used: .*See whether the role "nobody"/,
  ],
  [
    'database',
    () => at({ pathname: '/none' }),
    /^The database of DATABASE_URL cannot be used: .*CREATE DATABASE "none"/,
  ],
])('A %s that does not exist is told of with what to do', async (_, target, message) => {
  await expect(migrate(target())).rejects.toThrow(message)
})

it('A database whose encoding takes any bytes is good to start on', async () => {
  await create(`ENCODING 'SQL_ASCII' TEMPLATE template0`)
  expect(await migrate()).toEqual(['1_first'])
})

it('The lock is free before the connection ends, which a pooler may keep', async () => {
  const { end } = pg.Client.prototype
  const locks: unknown[][] = []
  const ending = vi.spyOn(pg.Client.prototype, 'end').mockImplementation(async function (this: pg.Client) {
    locks.push((await this.query(`SELECT objid FROM pg_locks WHERE locktype = 'advisory'`)).rows)
    return Reflect.apply(end, this, [])
  } as typeof end)
  await migrate().finally(() => ending.mockRestore())
  expect(locks).toEqual([[]])
})

it('A statement has the same name in every process, whatever each has prepared before', async () => {
  const namesOf = async (...statements: string[]) => {
    const db = connectPostgres({ url, poolSize: 1, log: SILENT, onQuery: () => undefined })
    for (const statement of statements) await db.sql(statement, [])
    const { rows } = await db.pool.query('SELECT statement, name FROM pg_prepared_statements ORDER BY statement')
    await db.close()
    return rows
  }
  const names = await namesOf('SELECT 1', 'SELECT 2')
  expect(names).toHaveLength(2)
  expect(await namesOf('SELECT 2', 'SELECT 1')).toEqual(names)
})

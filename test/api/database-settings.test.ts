import { expect, onTestFinished, test } from 'vitest'
import { connectPostgres } from '../../src/infra/postgres.js'
import { startApp } from '../support/app.js'
import { openDatabase } from '../support/database.js'
import { eventually } from '../support/eventually.js'
import { createInstallation } from '../support/installation.js'
import { createTestLog } from '../support/log.js'
import { metric } from '../support/metrics.js'

/** Of the database, for every connection that is opened from now on. */
const alter = (change: string) =>
  `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I ${change}', current_database()); END $$`
const END_CONNECTIONS = `
  SELECT pg_terminate_backend(pid) FROM pg_stat_activity
  WHERE datname = current_database() AND application_name = 'portcullis'`
/** So many that each who writes has tried several times. */
const TRIES = 60

test('Times are right, however the database writes them and wherever it is', async () => {
  const installation = await createInstallation()
  onTestFinished(installation.remove)
  const { query } = await openDatabase(installation)
  await query(alter(`SET datestyle = ''SQL, DMY''`))
  await query(alter(`SET timezone = ''Asia/Tokyo''`))
  await query(alter('SET standard_conforming_strings = off'))
  const app = await startApp({ beside: { installation } })
  const before = app.clock.now()
  const ada = await app.newUser()
  const after = app.clock.now()
  const { rows } = await query('SELECT created_at AS at FROM one_time_tokens UNION ALL SELECT created_at FROM sessions')
  const times = [...rows.map((row) => row.at), ...(await ada.sessions()).map(({ createdAt }) => new Date(createdAt))]
  expect(times).toHaveLength(4)
  expect(times.filter((time) => time < before || time > after)).toEqual([])
})

test('A database that takes no writes any more is away, and is back with new connections when it takes them', async () => {
  const app = await startApp()
  const ada = await app.newUser()
  const { query } = await openDatabase(app.installation)
  const health = async () => (await fetch(`${app.url}/health`)).json()
  const readiness = async () => (await fetch(`${app.url}/health/ready`)).status
  const statements = () => metric(app.url, 'database_queries_total')
  const linesWith = (text: string) => app.log.lines.filter((line) => line.includes(text)).length
  const logOutEverywhere = 'mutation { terminateAllSessions { __typename } }'

  await query(alter('SET default_transaction_read_only = on'))
  await query(END_CONNECTIONS)
  await eventually(health).toMatchObject({ status: 'unhealthy', database: 'down', jobs: 'down' })
  expect(await readiness()).toBe(503)
  expect(await ada.refusal(logOutEverywhere)).toMatchObject({ status: 503, code: 'SERVICE_UNAVAILABLE' })
  const before = await statements()
  await eventually(statements).toBeGreaterThan(before + TRIES)
  expect([linesWith('The job queue failed'), linesWith('The job queue works again')]).toEqual([1, 0])

  await query(alter('RESET default_transaction_read_only'))
  await eventually(health).toMatchObject({ status: 'healthy', database: 'up', jobs: 'up' })
  expect(await readiness()).toBe(200)
  expect((await ada.post(JSON.stringify({ query: logOutEverywhere }))).status).toBe(200)
  expect([linesWith('The job queue failed'), linesWith('The job queue works again')]).toEqual([1, 1])
  app.log.hush(/The job queue failed/)
})

test('A database whose disk is full is away for whoever writes, and is read from', async () => {
  const app = await startApp()
  const ada = await app.newUser()
  const { query } = await openDatabase(app.installation)
  const logOutEverywhere = 'mutation { terminateAllSessions { __typename } }'

  await query(`
    CREATE FUNCTION find_no_space() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN RAISE disk_full USING MESSAGE = 'could not extend file: No space left on device'; END $$`)
  await query('CREATE TRIGGER full_disk BEFORE INSERT ON audit_inbox EXECUTE FUNCTION find_no_space()')
  expect(await ada.refusal(logOutEverywhere)).toMatchObject({ status: 503, code: 'SERVICE_UNAVAILABLE' })
  expect(await ada.sessions()).toHaveLength(1)

  await query('DROP TRIGGER full_disk ON audit_inbox')
  expect((await ada.post(JSON.stringify({ query: logOutEverywhere }))).status).toBe(200)
})

test('A table that is small, or was when PostgreSQL looked, is read by its indexes like any other', async () => {
  const app = await startApp()
  let ada = await app.newUser()
  const { query } = await openDatabase(app.installation)
  await query('VACUUM ANALYZE sessions, refresh_tokens, users')
  const scans = async () => {
    const { rows } = await query(`
      SELECT sum(seq_scan)::int AS "bySequence", min(idx_scan)::int AS "byIndex" FROM pg_stat_user_tables
      WHERE relname IN ('sessions', 'refresh_tokens', 'users')`)
    return rows[0]
  }
  const before = await scans()
  // PostgreSQL counts what a connection did when it has done something more, a second later.
  const byIndex = async () => {
    ada = await ada.refreshed()
    return (await scans()).byIndex
  }
  await eventually(byIndex).toBeGreaterThan(before.byIndex + 3)
  expect((await scans()).bySequence).toBe(before.bySequence)
})

test('A connection that the database ends while it is handed on ends no process', async () => {
  const installation = await createInstallation()
  onTestFinished(installation.remove)
  const db = connectPostgres({ url: installation.databaseUrl, poolSize: 1, log: createTestLog(), onQuery: () => {} })
  onTestFinished(db.close)
  const client = await db.pool.connect()
  client.emit('error', new Error('terminating connection due to administrator command'))
  client.release(true)
  expect(await db.isReachable()).toBe(true)
})

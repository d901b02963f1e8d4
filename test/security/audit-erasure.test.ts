import { expect, test } from 'vitest'
import { startApp, type TestApp } from '../support/app.js'
import { runCli } from '../support/cli.js'
import { openDatabase } from '../support/database.js'
import { eventually } from '../support/eventually.js'
import { AuditChainDocument, AuditLogDocument } from '../support/generated/graphql.js'
import { openSocket } from '../support/streams.js'

const chainOf = async (app: TestApp) => (await app.auditor()).call(AuditChainDocument)

test('of nobody, nothing is erased, and the log does not say so', async () => {
  const app = await startApp()
  await app.newUser()
  const before = await app.allEvents()
  const env = { DATABASE_URL: app.installation.databaseUrl }
  const nobody = '00000000-0000-4000-8000-000000000000'
  const { code, stderr } = await runCli(env, 'audit', 'erase', nobody)
  expect({ code, stderr }).toEqual({ code: 1, stderr: `There is no event of an account "${nobody}"\n` })
  expect(await app.allEvents()).toEqual(before)
})

test('what is personal can be erased, and the log still verifies', async () => {
  const app = await startApp()
  const [ada, bob] = [await app.newUser(), await app.newUser()]
  await chainOf(app)
  const env = { DATABASE_URL: app.installation.databaseUrl }
  const { code, stdout } = await runCli(env, 'audit', 'erase', ada.email, '--json')
  expect(code).toBe(0)
  const { erased } = JSON.parse(stdout)
  expect(erased).toBeGreaterThan(3)

  const events = await app.eventsOf(ada)
  const [said, ...before] = events
  expect(said).toMatchObject({ type: 'PROFILE_UPDATED', metadata: { fields: ['auditLog'] } })
  expect(before).toHaveLength(erased)
  for (const event of before)
    expect(event).toMatchObject({ ipAddress: null, userAgent: null, city: null, country: null, metadata: {} })
  for (const event of await app.eventsOf(bob)) expect(event.ipAddress).not.toBeNull()
  expect(await chainOf(app)).toMatchObject({ isIntact: true })

  const verified = await runCli(env, 'audit', 'verify')
  expect(verified).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/^Intact: \d+ events, positions 1 to \d+\./),
  })
})

test('what was erased is told by no subscription that begins later', async () => {
  const app = await startApp()
  const auditor = await app.auditor()
  const { edges } = await auditor.call(AuditLogDocument, { scope: 'EVERYONE', first: 1 })
  const socket = await openSocket(app.url, { token: auditor.accessToken })
  const query = `subscription ($after: String, $filter: AuditLogFilter) {
    securityEvents(after: $after, filter: $filter) { node { type ipAddress userAgent metadata } } }`
  const ada = await app.newUser()
  const follow = () => socket.follow(query, { after: edges[0]?.cursor, filter: { userId: ada.id } })
  const told = (follower: ReturnType<typeof follow>) =>
    follower.received.map(({ data }) => data.securityEvents.node as { type: string; ipAddress: string | null })

  const before = follow()
  await eventually(() => told(before).map(({ type }) => type)).toContain('SESSION_CREATED')
  expect(told(before).every(({ ipAddress }) => ipAddress !== null)).toBe(true)
  await runCli({ DATABASE_URL: app.installation.databaseUrl }, 'audit', 'erase', ada.email)

  const later = follow()
  await eventually(() => told(later).map(({ type }) => type)).toContain('PROFILE_UPDATED')
  for (const event of told(later).slice(0, -1))
    expect(event).toMatchObject({ ipAddress: null, userAgent: null, metadata: {} })
  expect(told(later).length).toBeGreaterThan(3)
})

test('erasing many events can be broken off at any time, verifies as it is, and goes on when it is done again', async () => {
  const app = await startApp()
  const ada = await app.newUser()
  const { query } = await openDatabase(app.installation)
  await query(
    `INSERT INTO audit_inbox (type, occurred_at, success, risk_level, user_id, ip_address, metadata)
     SELECT CASE WHEN i = 6000 THEN enum_last(NULL::audit_event_type) ELSE 'TOKEN_REFRESHED' END, $1, true, 'HIGH', $2,
       CASE WHEN i = 6000 THEN '192.0.2.2' ELSE '192.0.2.1' END, '{}' FROM generate_series(1, 6000) AS i`,
    [app.clock.now(), ada.id],
  )
  await query(`CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'stopped'; END $$`)
  await query(`CREATE TRIGGER stop BEFORE UPDATE ON audit_events
    FOR EACH ROW WHEN (OLD.ip_address = '192.0.2.2') EXECUTE FUNCTION stop()`)
  const isErased = 'SELECT count(*)::int FROM audit_events WHERE user_id = $1 AND salt IS'
  const countOf = async (state: 'NULL' | 'NOT NULL') => (await query(`${isErased} ${state}`, [ada.id])).rows[0].count
  const env = { DATABASE_URL: app.installation.databaseUrl }
  const erase = () => runCli(env, 'audit', 'erase', ada.email, '--json')

  expect(await erase()).toMatchObject({ code: 1, stderr: expect.stringContaining('stopped') })
  expect(await countOf('NULL')).toBe(5000)
  expect(await runCli(env, 'audit', 'verify')).toMatchObject({ code: 0 })
  await query('DROP TRIGGER stop ON audit_events')
  const left = await countOf('NOT NULL')
  const { code, stdout } = await erase()
  expect({ code, erased: JSON.parse(stdout).erased }).toEqual({ code: 0, erased: left })
  // What is left is that this was done.
  expect(await countOf('NOT NULL')).toBe(1)
  expect(await runCli(env, 'audit', 'verify')).toMatchObject({ code: 0 })
})

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { startApp, type TestApp } from '../support/app.js'
import { runCli } from '../support/cli.js'
import { openDatabase } from '../support/database.js'
import { AuditChainDocument, AuditLogDocument } from '../support/generated/graphql.js'
import { makeDataDir } from '../support/server-process.js'
import { openSocket } from '../support/streams.js'

const chainOf = async (app: TestApp) => (await app.auditor()).call(AuditChainDocument)
const EVENTS = 'subscription ($after: String) { securityEvents(after: $after) { cursor node { id type } } }'

describe('the database keeps sealed events as they are', async () => {
  const app = await startApp({ env: { AUDIT_CHECKPOINT_INTERVAL: '1m' } })

  test.each([
    [`UPDATE audit_events SET type = 'NEW_DEVICE'`],
    [`UPDATE audit_events SET hash = ''`],
    [`UPDATE audit_events SET position = position + 1000000`],
    [`UPDATE audit_events SET ip_address = '192.0.2.1'`],
    [`UPDATE audit_events SET ip_address = NULL`],
    [`UPDATE audit_events SET salt = NULL`],
    [`DELETE FROM audit_events`],
    [`TRUNCATE audit_events`],
    [`TRUNCATE audit_checkpoints`],
  ])('%s', async (statement) => {
    expect(await chainOf(app)).toMatchObject({ isIntact: true })
    const { query } = await openDatabase(app.installation)
    await expect(query(statement)).rejects.toThrow(/cannot be changed or removed/)
    expect(await chainOf(app)).toMatchObject({ isIntact: true })
  })

  test('checkpoints too', async () => {
    await chainOf(app)
    app.clock.advance('2m')
    await app.operator.sign()
    expect(await chainOf(app)).toMatchObject({ isIntact: true, checkpoints: 1 })
    const { query } = await openDatabase(app.installation)
    for (const statement of ['DELETE FROM audit_checkpoints', 'UPDATE audit_checkpoints SET position = 1'])
      await expect(query(statement)).rejects.toThrow('Audit checkpoints cannot be changed or removed')
    expect(await chainOf(app)).toMatchObject({ isIntact: true, checkpoints: 1 })
  })
})

describe('retention', () => {
  const env = { AUDIT_RETENTION: '30d', AUDIT_CHECKPOINT_INTERVAL: '1m' }

  async function age(app: TestApp) {
    const ada = await app.newUser()
    const auditor = await app.auditor()
    const { edges } = await auditor.call(AuditLogDocument, { scope: 'EVERYONE', first: 2 })
    const [last, cursor] = edges.map((edge) => edge.cursor)
    app.clock.advance('2m')
    await app.operator.sign()
    app.clock.advance('31d')
    await app.operator.purge()
    return { ada, last, cursor }
  }

  test('removes old events, and leaves a signed stub from which the rest verifies', async () => {
    const app = await startApp({ env })
    const { ada, cursor } = await age(app)
    const { query } = await openDatabase(app.installation)
    const { rows } = await query('SELECT kind, position::int, jws FROM audit_checkpoints')
    expect(rows).toMatchObject([{ kind: 'RETENTION' }])
    expect((await query('SELECT FROM audit_events WHERE position <= $1', [rows[0].position])).rowCount).toBe(0)

    await ada.logIn()
    const chain = await chainOf(app)
    expect(chain).toMatchObject({ isIntact: true })
    // Positions go on from there: a cursor is never told twice.
    const [first] = (await query('SELECT min(position)::int AS position FROM audit_events')).rows
    expect(first.position).toBe(rows[0].position + 1)
    expect(chain.signedUpTo).toBe(String(rows[0].position))

    // From a cursor before the stub on, nobody can be told everything.
    const auditor = await app.auditor()
    const socket = await openSocket(app.url, { token: auditor.accessToken })
    const { errors } = await socket.ask(EVENTS, { after: cursor })
    expect(errors).toMatchObject([{ extensions: { code: 'BAD_USER_INPUT', issues: [{ path: ['after'] }] } }])
  })

  test('what it has removed is not missed by anchors; those of which none can be compared prove nothing', async () => {
    const app = await startApp({ env })
    const { ada } = await age(app)
    await ada.logIn()
    await chainOf(app)
    const file = join(makeDataDir(), 'server.log')
    // Which keeps events for longer than the server did.
    const verify = (...more: string[]) =>
      runCli({ DATABASE_URL: app.installation.databaseUrl }, 'audit', 'verify', '--anchors', file, ...more)
    // Logs of several servers are put together in any order.
    for (const lines of [app.log.lines, [...app.log.lines].reverse()]) {
      writeFileSync(file, lines.join('\n'))
      expect(await verify()).toMatchObject({ code: 0, stdout: expect.stringContaining('Compared with 1 of 1 anchors') })
    }
    const { query } = await openDatabase(app.installation)
    const [{ position }] = (await query('SELECT max(position) AS position FROM audit_events')).rows
    expect(await verify('--from', position)).toMatchObject({
      code: 1,
      stdout: expect.stringMatching(/^NOT COMPARED: none of the 1 anchors/),
    })
  })

  test('the stub verifies when the key that signed it has been retired for long, and is gone', async () => {
    const app = await startApp({ env })
    const { ada } = await age(app)
    const { query } = await openDatabase(app.installation)
    const [{ kid }] = (await query('SELECT kid FROM audit_checkpoints')).rows
    await app.operator.rotateKeys()
    app.clock.advance('5d')
    await app.operator.purge()
    expect((await query('SELECT FROM signing_keys WHERE kid = $1', [kid])).rowCount).toBe(0)
    await ada.logIn()
    expect(await chainOf(app)).toMatchObject({ isIntact: true, signedUpTo: expect.stringMatching(/^\d+$/) })
  })

  test('nobody removes events with a stub of their own', async () => {
    const app = await startApp({ env })
    await app.newUser()
    await chainOf(app)
    const { query } = await openDatabase(app.installation)
    await query(`INSERT INTO audit_checkpoints (kind, position, hash, created_at, kid, jws)
      SELECT 'RETENTION', position, hash, now(), (SELECT kid FROM signing_keys), 'e30.e30.AA' FROM audit_events WHERE position = 3`)
    const broken = { isIntact: false, firstBreak: { position: '3', reason: 'CHECKPOINT_FORGED' } }
    expect(await chainOf(app)).toMatchObject(broken)
    // Nor do we do it for them.
    app.clock.advance('31d')
    await app.operator.purge()
    expect((await query('SELECT FROM audit_events WHERE position <= 3')).rowCount).toBe(3)
    expect(app.log.problems.splice(0)).toMatchObject([{ message: expect.stringContaining('tampered') }])
    // Who removes them all the same is found out.
    await query('DELETE FROM audit_events WHERE position <= 3')
    expect(await chainOf(app)).toMatchObject(broken)
  })

  test('events that a policy hides from the search for young ones are not removed before their time', async () => {
    const app = await startApp({ env })
    await app.newUser()
    await chainOf(app)
    const { query } = await openDatabase(app.installation)
    const count = async () => (await query('SELECT FROM audit_events')).rowCount
    // As for the owner of a table: superusers, as whom the tests connect, no policy holds up.
    const role = `hider_${app.installation.redisPrefix.replace(/\W/g, '')}`
    await query(`CREATE ROLE ${role} LOGIN PASSWORD 'hider' NOSUPERUSER`)
    onTestFinished(async () => void (await query(`DROP OWNED BY ${role}; DROP ROLE ${role}`)))
    for (const schema of ['public', 'jobs'])
      await query(
        `GRANT USAGE, CREATE ON SCHEMA ${schema} TO ${role}; GRANT ALL ON ALL TABLES IN SCHEMA ${schema} TO ${role}`,
      )
    await query('ALTER TABLE audit_events ENABLE ROW LEVEL SECURITY')
    await query(`CREATE POLICY hide ON audit_events USING (current_query() NOT LIKE '%WHERE occurred_at >=%')`)
    const url = new URL(app.installation.databaseUrl)
    url.username = role
    url.password = 'hider'
    const before = await count()
    const flush = await runCli({ AUDIT_RETENTION: '30d', DATABASE_URL: url.href }, 'maintenance', 'flush', '--json')
    expect({
      code: flush.code,
      auditEvents: JSON.parse(flush.stdout || '{}').purged?.auditEvents,
      stderr: flush.stderr,
    }).toEqual({
      ...{ code: 0, auditEvents: 0 },
      stderr: expect.stringContaining('an event was to be removed before its time'),
    })
    expect(await count()).toBe(before)
    expect(await chainOf(app)).toMatchObject({ isIntact: true })
  })

  test('what was tampered with is kept: it is evidence', async () => {
    const app = await startApp({ env })
    await app.newUser()
    await chainOf(app)
    const { tamper, query } = await openDatabase(app.installation)
    await tamper('UPDATE audit_events SET success = false WHERE position = 2')
    app.clock.advance('31d')
    await app.operator.purge()
    expect((await query('SELECT FROM audit_events WHERE position <= 2')).rowCount).toBe(2)
    expect(app.log.problems.splice(0)).toMatchObject([{ message: expect.stringContaining('tampered') }])
  })
})

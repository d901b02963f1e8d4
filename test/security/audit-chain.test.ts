import { beforeAll, describe, expect, test } from 'vitest'
import { PASSWORD, startApp, type TestApp } from '../support/app.js'
import { chainOf, makeEvents } from '../support/audit-chain.js'
import { runCli } from '../support/cli.js'
import { openDatabase } from '../support/database.js'
import { lockDatabase } from '../support/database-lock.js'
import { eventually } from '../support/eventually.js'
import { AuditChainDocument, LoginDocument } from '../support/generated/graphql.js'

describe('what somebody changes in the database is found', () => {
  const tampering: [string, string, string][] = [
    [
      'a flipped bit of the hash',
      `UPDATE audit_events SET hash = set_bit(hash, 7, 1 - get_bit(hash, 7)) WHERE position = 5`,
      'CHANGED',
    ],
    ['another outcome', `UPDATE audit_events SET success = NOT success WHERE position = 5`, 'CHANGED'],
    [
      'another time',
      `UPDATE audit_events SET occurred_at = occurred_at + interval '1 ms' WHERE position = 5`,
      'CHANGED',
    ],
    ['another account', `UPDATE audit_events SET user_id = gen_random_uuid() WHERE position = 5`, 'CHANGED'],
    ['another id', `UPDATE audit_events SET id = gen_random_uuid() WHERE position = 5`, 'CHANGED'],
    ['another risk', `UPDATE audit_events SET risk_level = 'CRITICAL' WHERE position = 5`, 'CHANGED'],
    ['another type', `UPDATE audit_events SET type = 'NEW_DEVICE' WHERE position = 5`, 'CHANGED'],
    ['another session', `UPDATE audit_events SET session_id = gen_random_uuid() WHERE position = 5`, 'CHANGED'],
    ['another request', `UPDATE audit_events SET correlation_id = 'x' WHERE position = 5`, 'CHANGED'],
    ['another commitment', `UPDATE audit_events SET commitment = sha256('x') WHERE position = 5`, 'CHANGED'],
    ['another address', `UPDATE audit_events SET ip_address = '192.0.2.1' WHERE position = 5`, 'PERSONAL_DATA_CHANGED'],
    ['another agent', `UPDATE audit_events SET user_agent = 'x' WHERE position = 5`, 'PERSONAL_DATA_CHANGED'],
    ['another place', `UPDATE audit_events SET city = 'Atlantis' WHERE position = 5`, 'PERSONAL_DATA_CHANGED'],
    ['another country', `UPDATE audit_events SET country = 'XX' WHERE position = 5`, 'PERSONAL_DATA_CHANGED'],
    ['other metadata', `UPDATE audit_events SET metadata = '{"a": 1}' WHERE position = 5`, 'PERSONAL_DATA_CHANGED'],
    ['another salt', `UPDATE audit_events SET salt = sha256('x') WHERE position = 5`, 'PERSONAL_DATA_CHANGED'],
    ['half erased', `UPDATE audit_events SET salt = NULL WHERE position = 5`, 'PERSONAL_DATA_CHANGED'],
    [
      'erased in secret',
      `UPDATE audit_events SET ip_address = NULL, user_agent = NULL, city = NULL, country = NULL, metadata = '{}', salt = NULL
       WHERE position = 5`,
      'PERSONAL_DATA_CHANGED',
    ],
    ['a removed event', `DELETE FROM audit_events WHERE position = 5`, 'MISSING'],
    ['the first events removed', `DELETE FROM audit_events WHERE position <= 4`, 'MISSING'],
    ['two that changed places', `UPDATE audit_events SET position = 1000000005 WHERE position = 5`, 'MISSING'],
  ]

  let app: TestApp
  beforeAll(async () => {
    app = await startApp()
    await makeEvents(await app.newUser(), 5)
    expect(await chainOf(app)).toMatchObject({ isIntact: true, firstBreak: null })
  })

  test.each(tampering)('%s', async (_, statement, reason) => {
    const { tamper, query } = await openDatabase(app.installation)
    await query('CREATE TEMPORARY TABLE before AS SELECT * FROM audit_events')
    await tamper(statement)
    const expected = statement.includes('<= 4') ? '1' : '5'
    expect(await chainOf(app)).toMatchObject({ isIntact: false, firstBreak: { position: expected, reason } })
    await tamper(`DELETE FROM audit_events WHERE position IN (SELECT position FROM before) OR position > 1000000000`)
    await query('INSERT INTO audit_events SELECT * FROM before')
    expect(await chainOf(app)).toMatchObject({ isIntact: true })
  })
})

test('a log that was rewritten, with new hashes, is found by its checkpoints', async () => {
  const app = await startApp({ env: { AUDIT_CHECKPOINT_EVENTS: '10' } })
  const ada = await app.newUser()
  await makeEvents(ada, 25)
  const database = await openDatabase(app.installation)
  await eventually(async () => (await chainOf(app)).checkpoints).toBeGreaterThanOrEqual(2)
  const { signedUpTo } = await chainOf(app)
  expect(Number(signedUpTo)).toBeGreaterThanOrEqual(20)

  // Everything from the fifth event on goes through the sealing once more, with one event left out.
  await database.tamper(`WITH gone AS (DELETE FROM audit_events WHERE position >= 5 RETURNING *)
    INSERT INTO audit_inbox (event_id, type, occurred_at, success, risk_level, user_id, session_id, ip_address, user_agent,
                             city, country, correlation_id, metadata)
    SELECT id, type, occurred_at, success, risk_level, user_id, session_id, ip_address, user_agent, city, country,
           correlation_id, metadata FROM gone WHERE position > 5 ORDER BY position`)
  const rewritten = { isIntact: false, firstBreak: { position: '10', reason: 'CHECKPOINT_MISMATCH' } }
  expect(await chainOf(app)).toMatchObject(rewritten)

  // Nor does it help to rewrite what the checkpoint says: it is signed.
  await database.tamper(
    `UPDATE audit_checkpoints c SET hash = e.hash FROM audit_events e WHERE e.position = c.position`,
  )
  expect(await chainOf(app)).toMatchObject({ firstBreak: { position: '10', reason: 'CHECKPOINT_FORGED' } })
  const newest = async () =>
    (await database.query('SELECT max(position) AS position FROM audit_checkpoints')).rows[0].position
  const before = await newest()
  // The server signs no further: it would make the forgery its own.
  const { problems } = app.log
  await makeEvents(ada, 15)
  await eventually(() => problems.length).toBeGreaterThan(0)
  for (const { message } of problems.splice(0)) expect(message).toContain('tampered')
  expect(await newest()).toBe(before)
  app.log.hush(/tampered/)
})

test('whatever people use, the log verifies', async () => {
  const app = await startApp()
  const ada = await app.newUser()
  const agent = `"\\';-- \u00e9 \u00ff {} [null, 1] \t </script>`
  const input = { identifier: ada.email, password: PASSWORD }
  await app.anonymous.with({ 'user-agent': agent }).call(LoginDocument, { input })
  const [newDevice] = await app.eventsOf(ada, { types: ['NEW_DEVICE'] })
  expect(newDevice?.userAgent).toContain(`"\\';-- \u00e9`)
  expect(await chainOf(app)).toMatchObject({ isIntact: true })
})

test('a part of the log can be verified, and the next one from there', async () => {
  const app = await startApp()
  await makeEvents(await app.newUser(), 10)
  const auditor = await app.auditor()
  const first = await auditor.call(AuditChainDocument, { first: 6 })
  expect(first).toMatchObject({ isIntact: true, events: 6, hasMore: true })
  const rest = await auditor.call(AuditChainDocument, { first: 1000, after: first.endCursor })
  expect(rest).toMatchObject({ isIntact: true, hasMore: false })
  const { tamper } = await openDatabase(app.installation)
  await tamper('UPDATE audit_events SET success = NOT success WHERE position = 9')
  expect(await auditor.call(AuditChainDocument, { first: 6 })).toMatchObject({ isIntact: true })
  expect(await auditor.call(AuditChainDocument, { after: first.endCursor })).toMatchObject({
    ...{ isIntact: false, events: 2, firstBreak: { position: '9', reason: 'CHANGED' } },
  })
})

test('who may not read the log may not have it verified', async () => {
  const app = await startApp()
  const ada = await app.newUser()
  expect(await ada.refusal(AuditChainDocument)).toMatchObject({ code: 'FORBIDDEN' })
  expect(await app.anonymous.refusal(AuditChainDocument)).toMatchObject({ code: 'UNAUTHENTICATED' })
  const auditor = await app.auditor()
  for (const variables of [{ first: 0 }, { first: 50_001 }, { after: 'not a cursor' }])
    expect(await auditor.refusal(AuditChainDocument, variables)).toMatchObject({ code: 'BAD_USER_INPUT' })
})

test('an end that was cut off is missed, as far as it was signed', async () => {
  const app = await startApp({ env: { AUDIT_CHECKPOINT_EVENTS: '10' } })
  const ada = await app.newUser()
  await makeEvents(ada, 12)
  await eventually(async () => (await chainOf(app)).checkpoints).toBeGreaterThan(0)
  const { tamper } = await openDatabase(app.installation)
  await tamper('DELETE FROM audit_events WHERE position >= 7')
  const env = { DATABASE_URL: app.installation.databaseUrl }
  const { code, stdout } = await runCli(env, 'audit', 'verify', '--to', '10', '--json')
  expect(code).toBe(1)
  expect(JSON.parse(stdout)).toMatchObject({ isIntact: false, broken: { position: '7', reason: 'MISSING' } })
})

test('what a withdrawn key has signed is signed by the next one: it still proves something', async () => {
  const app = await startApp({ env: { AUDIT_CHECKPOINT_EVENTS: '10' } })
  await makeEvents(await app.newUser(), 12)
  await eventually(async () => (await chainOf(app)).checkpoints).toBeGreaterThan(0)
  const { query } = await openDatabase(app.installation)
  const { rows } = await query('SELECT kid FROM signing_keys')
  await app.operator.revokeKey(rows[0].kid)
  const eve = await app.newUser()
  await app.operator.grant(eve.email, 'audit:read')
  const { isIntact, checkpoints } = await eve.call(AuditChainDocument)
  expect(isIntact).toBe(true)
  expect(checkpoints).toBeGreaterThan(0)
  expect((await query('SELECT FROM audit_checkpoints WHERE kid = $1', [rows[0].kid])).rowCount).toBe(0)
})

test('a checkpoint whose key is withdrawn while it is looked at is no forgery', async () => {
  const app = await startApp()
  await app.eventsOf(await app.newUser())
  app.clock.advance('1d')
  await app.operator.sign()
  const { query, tamper } = await openDatabase(app.installation)
  const [before] = (await query('SELECT kid, jws FROM audit_checkpoints')).rows
  await app.operator.revokeKey(before.kid)
  const [after] = (await query('SELECT kid, jws FROM audit_checkpoints')).rows
  // As it was when a server began to look, and as it is when that server asks for the key.
  await tamper('UPDATE audit_checkpoints SET kid = $1, jws = $2', [before.kid, before.jws])
  await app.eventsOf(await app.newUser())
  app.clock.advance('1d')
  const { extend, untilWaiting, release } = await lockDatabase(app.installation, 'LOCK TABLE signing_keys')
  const signed = app.operator.sign()
  await untilWaiting(1)
  await extend(`SET LOCAL session_replication_role = 'replica'`)
  await extend(`UPDATE audit_checkpoints SET kid = '${after.kid}', jws = '${after.jws}'`)
  await release()
  await signed
  expect((await query('SELECT FROM audit_checkpoints')).rowCount).toBe(2)
  expect(await chainOf(app)).toMatchObject({ isIntact: true, checkpoints: 2 })
})

// A key that is withdrawn while others still use it, or while what it has signed is signed anew.
import pg from 'pg'
import { expect, onTestFinished, test, vi } from 'vitest'
import { NEXT_PASSWORD, startApp, type TestApp } from '../support/app.js'
import { stopClock } from '../support/clock.js'
import { openDatabase } from '../support/database.js'
import { lockDatabase } from '../support/database-lock.js'
import { eventually } from '../support/eventually.js'
import { AuditChainDocument, LoginDocument, MeDocument } from '../support/generated/graphql.js'

const env = { JWT_ISSUER: 'https://auth.example', JWT_AUDIENCE: 'https://auth.example', REDIS_URL: '' }
const KEYS = 'SELECT kid FROM signing_keys'
const STRAYS = 'SELECT kid FROM audit_checkpoints WHERE kid NOT IN (SELECT kid FROM signing_keys)'

/** Once more where the lock outlasts the patience of the first try: the machine may be busy. */
function revokeWhileLocked({ operator }: TestApp, kid: string): Promise<unknown> {
  const revoke = () => operator.revokeKey(kid)
  return revoke().catch(revoke)
}

test('A server that has not heard of it yet signs no part of the audit log with a withdrawn key', async () => {
  const one = await startApp({ env: { ...env, AUDIT_CHECKPOINT_EVENTS: '1000000' } })
  const two = await startApp({ env: { ...env, AUDIT_CHECKPOINT_EVENTS: '10' }, beside: one })
  const ada = await one.newUser()
  const { query } = await openDatabase(one.installation)
  const [{ kid }] = (await query(KEYS)).rows
  // It has looked just now, and would look again in a second.
  stopClock(one.clock)
  await two.anonymous.with({ authorization: `Bearer ${ada.accessToken}` }).call(MeDocument)
  await one.operator.revokeKey(kid)
  const guess = (identifier: string) => ({ input: { identifier, password: NEXT_PASSWORD } })
  for (let time = 0; time < 12; time += 1) await two.anonymous.call(LoginDocument, guess(`nobody${time}`))
  await eventually(async () => (await query('SELECT FROM audit_checkpoints')).rowCount).toBe(1)
  expect((await query(STRAYS)).rows).toEqual([])
  expect(await (await one.auditor()).call(AuditChainDocument)).toMatchObject({ isIntact: true })
})

test('Its tokens are refused before what else it has signed is signed anew', async () => {
  const app = await startApp({ env })
  const ada = await app.newUser()
  const { query } = await openDatabase(app.installation)
  const [{ kid }] = (await query(KEYS)).rows
  const lock = await lockDatabase(app.installation, 'LOCK TABLE audit_checkpoints IN ACCESS EXCLUSIVE MODE')
  const revoked = revokeWhileLocked(app, kid)
  await lock.untilWaiting(1)
  await eventually(() => ada.call(MeDocument)).toBeNull()
  await lock.release()
  await revoked
  expect((await query(KEYS)).rows).not.toContainEqual({ kid })
})

test('Nothing rests on it though the key that signs anew is replaced meanwhile', async () => {
  const app = await startApp({ env: { ...env, AUDIT_CHECKPOINT_INTERVAL: '1m' } })
  await app.newUser()
  await app.allEvents()
  app.clock.advance('2m')
  await app.operator.sign()
  const { query } = await openDatabase(app.installation)
  const [{ kid }] = (await query(KEYS)).rows
  const lock = await lockDatabase(app.installation, 'LOCK TABLE audit_checkpoints IN SHARE MODE')
  const revoked = revokeWhileLocked(app, kid)
  await lock.untilWaiting(1)
  const successor = await app.operator.rotateKeys()
  await lock.release()
  await revoked
  expect((await query('SELECT kid FROM audit_checkpoints')).rows).toEqual([{ kid: successor }])
  expect((await query(KEYS)).rows).not.toContainEqual({ kid })
})

test('What a key has signed that cannot be read, for want of its SECRET_KEY, is not called forged', async () => {
  const app = await startApp({ env: { ...env, AUDIT_CHECKPOINT_INTERVAL: '1m' } })
  await app.newUser()
  await app.allEvents()
  app.clock.advance('2m')
  await app.operator.sign()
  await app.operator.rotateKeys()
  const { query, tamper } = await openDatabase(app.installation)
  await tamper(
    `UPDATE signing_keys SET sealed_private = '', retired_at = now() - interval '30 days' WHERE retired_at IS NOT NULL`,
  )
  await app.register()
  await query('SELECT seal_audit_events(1000)')
  app.clock.advance('2m')
  // Everything else goes on.
  await app.operator.purge()
  const [{ kid }] = (await query(`${KEYS} WHERE retired_at IS NULL`)).rows
  await app.operator.revokeKey(kid)
  expect((await query(KEYS)).rows).not.toContainEqual({ kid })
  expect(app.log.problems.map(({ message }) => message)).toContain(
    'A checkpoint of the audit log cannot be signed anew',
  )
  app.log.hush(/cannot be signed anew|A signing key was stored under/)
  await expect(app.operator.sign()).rejects.toThrow('was stored under a SECRET_KEY that is not configured')
  expect((await query('SELECT FROM audit_checkpoints')).rowCount).toBe(1)
})

test('A key of which something is left that is not signed anew stays known, and since when it signs no more', async () => {
  const app = await startApp({ env: { ...env, AUDIT_CHECKPOINT_INTERVAL: '1m' } })
  await app.newUser()
  await app.allEvents()
  app.clock.advance('2m')
  await app.operator.sign()
  const { query, tamper } = await openDatabase(app.installation)
  const [{ kid }] = (await query(KEYS)).rows
  await app.operator.rotateKeys()
  const retired = 'SELECT retired_at AS at FROM signing_keys WHERE kid = $1'
  const before = (await query(retired, [kid])).rows
  expect(before).toEqual([{ at: expect.any(Date) }])
  await tamper(`UPDATE audit_checkpoints SET jws = 'forged'`)
  app.clock.advance('1m')
  await app.operator.revokeKey(kid)
  expect((await query(retired, [kid])).rows).toEqual(before)
  app.log.hush(/The audit log was tampered with/)
})

test('A checkpoint whose key is another one whenever it is read is called forged', async () => {
  const app = await startApp({ env: { ...env, AUDIT_CHECKPOINT_INTERVAL: '1m' } })
  const auditor = await app.auditor()
  await app.allEvents()
  app.clock.advance('2m')
  await app.operator.sign()
  const { tamper } = await openDatabase(app.installation)
  await tamper(`
    ALTER TABLE audit_checkpoints RENAME TO kept;
    CREATE VIEW audit_checkpoints AS SELECT kind, position, hash, created_at, jws, md5(random()::text) AS kid FROM kept`)
  expect((await auditor.call(AuditChainDocument)).firstBreak?.reason).toBe('CHECKPOINT_FORGED')
  await app.register()
  await app.allEvents()
  app.clock.advance('2m')
  await app.operator.sign()
  expect(app.log.problems.map(({ message }) => message)).toContain(
    'The audit log was tampered with: it is signed no further',
  )
  app.log.hush(/tampered with/)
})

/** The first statement that reads stretches of the log for verification. */
const WALK = /EXISTS \(\s*SELECT FROM audit_events said/

test('Old events that another process removes while they are verified raise no alarm', async () => {
  const retention = { ...env, AUDIT_RETENTION: '30d', AUDIT_CHECKPOINT_INTERVAL: '1m' }
  const one = await startApp({ env: retention })
  const two = await startApp({ env: retention, beside: one })
  await one.newUser()
  await one.allEvents()
  one.clock.advance('31d')
  const { query } = pg.Client.prototype
  let isRemoved = false
  const overtaking = vi.spyOn(pg.Client.prototype, 'query').mockImplementation(function (
    this: pg.Client,
    ...args: unknown[]
  ) {
    const [statement] = args as [{ text?: string } | string]
    const isWalk = typeof statement !== 'string' && WALK.test(statement.text ?? '')
    if (!isWalk || isRemoved) return Reflect.apply(query, this, args)
    isRemoved = true
    return void two.operator.purge().then(() => Reflect.apply(query, this, args))
  } as typeof query)
  onTestFinished(() => overtaking.mockRestore())
  await one.operator.purge()
  expect(isRemoved).toBe(true)
  expect(one.log.problems).toEqual([])
  expect(await (await one.auditor()).call(AuditChainDocument)).toMatchObject({ isIntact: true })
})

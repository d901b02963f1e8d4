import { mkdtempSync, statSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { NEXT_PASSWORD, PASSWORD, startApp } from '../support/app.js'
import { expectType } from '../support/client.js'
import { openDatabase } from '../support/database.js'
import { lockDatabase } from '../support/database-lock.js'
import { LoginDocument, MeDocument, VerifyEmailDocument } from '../support/generated/graphql.js'
import { proofOf, SUBJECTS } from '../support/mailbox.js'

/** More than go by one statement. */
const MANY = 2500
const OLD_TOKENS = `
  INSERT INTO one_time_tokens (id, user_id, purpose, token_hash, created_at, expires_at)
  SELECT gen_random_uuid(), $1, 'EXCHANGE', decode(md5(n::text), 'hex'), $2, $2 FROM generate_series(1, ${MANY}) AS n`
const OLD_MAIL = `
  INSERT INTO mailbox_messages (id, recipient, subject, text, html, sent_at)
  VALUES (gen_random_uuid(), 'somebody@example.com', 'Old', '', '', $1)`

describe('the removal of what has expired', () => {
  test('takes all of it, however much there is, and nothing else', async () => {
    const app = await startApp()
    const ada = await app.newUser()
    const waiting = await app.register()
    await app.mailsTo(waiting.email)
    const { query } = await openDatabase(app.installation)
    const { rows } = await query('SELECT count(*)::int AS count FROM one_time_tokens')
    const longAgo = new Date(app.clock.now().getTime() - 2 * 86_400_000)
    await query(OLD_TOKENS, [ada.id, longAgo])
    expect(await app.operator.purge()).toMatchObject({ oneTimeTokens: MANY, sessions: 0, registrations: 0 })
    expect((await query('SELECT count(*)::int AS count FROM one_time_tokens')).rows).toEqual(rows)
    expect(await ada.call(MeDocument)).toMatchObject({ id: ada.id })
    await app.verify(waiting)
  })

  test('leaves a lock that is to last for longer than failures are kept', async () => {
    const app = await startApp({ env: { LOCKOUT_THRESHOLD: '1', LOCKOUT_DURATION: '3d' } })
    const { email } = await app.newUser()
    const logIn = (password: string) =>
      app.anonymous.call(LoginDocument, { input: { identifier: email, password, tokenDelivery: 'BODY' } })
    expectType(await logIn(NEXT_PASSWORD), 'AccountLockedError')
    app.clock.advance('2d')
    expect(await app.operator.purge()).toMatchObject({ loginThrottles: 0 })
    expectType(await logIn(PASSWORD), 'AccountLockedError')
    app.clock.advance('3d')
    expect(await app.operator.purge()).toMatchObject({ loginThrottles: 1 })
    expectType(await logIn(PASSWORD), 'LoginSuccess')
  })

  test('leaves failures that go on, however long ago they began', async () => {
    const app = await startApp({ env: { LOCKOUT_THRESHOLD: '3' } })
    const input = { identifier: (await app.newUser()).email, password: NEXT_PASSWORD }
    const fail = () => app.anonymous.call(LoginDocument, { input })
    expectType(await fail(), 'InvalidCredentialsError')
    app.clock.advance('20h')
    expectType(await fail(), 'InvalidCredentialsError')
    app.clock.advance('20h')
    expect(await app.operator.purge()).toMatchObject({ loginThrottles: 0 })
    expectType(await fail(), 'AccountLockedError')
  })

  test('leaves the wrong codes that count against one that is still good', async () => {
    const app = await startApp()
    const { email } = await app.register()
    const { code } = proofOf(await app.mail(email, SUBJECTS.verification))
    const verify = (given: string) => app.anonymous.call(VerifyEmailDocument, { input: { email, code: given } })
    const wrong = code === '123456' ? '654321' : '123456'
    for (let time = 1; time <= 5; time += 1) expectType(await verify(wrong), 'InvalidTokenError')
    app.clock.advance('23h')
    await app.operator.purge()
    expectType(await verify(code), 'InvalidTokenError')
  })

  test('goes on where some of it cannot be removed, and tells so at the end', async () => {
    const app = await startApp()
    const { query } = await openDatabase(app.installation)
    await query(OLD_MAIL, [new Date(app.clock.now().getTime() - 30 * 86_400_000)])
    const lock = await lockDatabase(app.installation, 'LOCK TABLE login_throttles IN ACCESS EXCLUSIVE MODE')
    await expect(app.operator.purge()).rejects.toThrow('lock timeout')
    await lock.release()
    expect((await query('SELECT subject FROM mailbox_messages')).rows).toEqual([])
    expect(await app.operator.purge()).toMatchObject({ mailbox: 0 })
  })
})

test('A secret.key that holds no secret, as a full disk leaves it, is not used', async () => {
  const DATA_DIR = mkdtempSync(join(tmpdir(), 'portcullis-secret-'))
  onTestFinished(() => rm(DATA_DIR, { recursive: true }))
  writeFileSync(join(DATA_DIR, 'secret.key'), '')
  const start = startApp({ env: { DATA_DIR, SECRET_KEY: '' } })
  await expect(start).rejects.toThrow('secret.key does not hold a secret: restore or remove it')
})

test('A data directory that the server makes is its own alone', async () => {
  const parent = mkdtempSync(join(tmpdir(), 'portcullis-secret-'))
  onTestFinished(() => rm(parent, { recursive: true }))
  const DATA_DIR = join(parent, 'new')
  await expect(startApp({ env: { DATA_DIR, SECRET_KEY: '' } })).rejects.toThrow('was stored under a SECRET_KEY')
  expect(statSync(DATA_DIR).mode & 0o777).toBe(0o700)
})

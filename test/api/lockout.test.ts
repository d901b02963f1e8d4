import { describe, expect, test } from 'vitest'
import { NEXT_PASSWORD, PASSWORD, startApp } from '../support/app.js'
import { expectType } from '../support/client.js'
import { openDatabase } from '../support/database.js'
import { lockDatabase } from '../support/database-lock.js'
import { DEVICES } from '../support/devices.js'
import {
  LoginDocument,
  RegisterDocument,
  RequestPasswordResetDocument,
  ResetPasswordDocument,
  VerifyEmailDocument,
} from '../support/generated/graphql.js'
import { proofOf, SUBJECTS } from '../support/mailbox.js'

const app = await startApp()
const { clock } = app

// Nobody's device: not one of those that the owner has signed in with.
const stranger = app.anonymous.with({ 'user-agent': DEVICES.chromeOnWindows, 'x-forwarded-for': '203.0.113.9' })
const guess = async (identifier: string, password = NEXT_PASSWORD) =>
  stranger.call(LoginDocument, { input: { identifier, password, tokenDelivery: 'BODY' } })

async function fail(identifier: string, times: number): Promise<string[]> {
  const answers: string[] = []
  for (let time = 1; time <= times; time += 1) answers.push((await guess(identifier)).__typename)
  return answers
}

/** No worker takes what is asked for from now on. */
const HOLD_REQUESTS = `
  CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.start_after = now() + interval '1 hour'; RETURN NEW; END $$;
  CREATE TRIGGER hold BEFORE INSERT ON jobs.job FOR EACH ROW WHEN (NEW.name = 'mail-request') EXECUTE FUNCTION hold()`
const LOCKING = [...new Array(4).fill('InvalidCredentialsError'), 'AccountLockedError', 'AccountLockedError']

describe('five failures in a row', () => {
  test('lock the account for half an hour, also for the correct password, and tell the owner', async () => {
    const ada = await app.newUser()
    expect(await fail(ada.email, 6)).toEqual(LOCKING)
    const error = expectType(await guess(ada.email, ada.password), 'AccountLockedError')
    expect(error.code).toBe('ACCOUNT_LOCKED')
    expect(error.retryAfterSeconds).toBeGreaterThan(29 * 60)
    expect(error.retryAfterSeconds).toBeLessThanOrEqual(30 * 60)
    expect(Date.parse(error.lockedUntil) - clock.now().getTime()).toBeGreaterThan(29 * 60_000)

    expect(await app.eventsOf(ada, { types: ['ACCOUNT_LOCKED'] })).toEqual([
      expect.objectContaining({ success: false, riskLevel: 'HIGH', ipAddress: '203.0.113.9' }),
    ])
    expect(await app.eventsOf(ada, { types: ['LOGIN_FAILED'] })).toHaveLength(7)
    const locked = (await app.mailsTo(ada.email)).filter(({ subject }) => subject === SUBJECTS.locked)
    expect(locked).toHaveLength(1)
  })

  test('are told with their time, however long the mail about them has waited', async () => {
    const ada = await app.newUser()
    clock.advance('2d')
    const at = clock.now().getTime()
    const { query } = await openDatabase(app.installation)
    await query(HOLD_REQUESTS)
    await fail(ada.email, 5)
    clock.advance('2d')
    await query('DROP TRIGGER hold ON jobs.job')
    await query(`UPDATE jobs.job SET start_after = now() WHERE name = 'mail-request'`)
    const [, told = ''] = /Time: (.*)/.exec((await app.mail(ada.email, SUBJECTS.locked)).text) ?? []
    expect(Math.abs(Date.parse(told.replace(/\s+(at )?/g, ' ')) - at)).toBeLessThan(86_400_000)
  })

  test('count whatever request id comes with them: the log takes the longest that is kept', async () => {
    const ada = await app.newUser()
    const input = { identifier: ada.email, password: 'not my password', tokenDelivery: 'BODY' } as const
    for (const length of [100, 101, 128, 1000]) {
      const id = 'x'.repeat(length)
      expectType(await stranger.with({ 'x-request-id': id }).call(LoginDocument, { input }), 'InvalidCredentialsError')
    }
    expect(await fail(ada.email, 1)).toEqual(['AccountLockedError'])
    const failures = await app.eventsOf(ada, { types: ['LOGIN_FAILED'] })
    expect(failures.map(({ correlationId }) => correlationId)).toContain('x'.repeat(100))
  })

  test('are answered in the same way where there is no such account', async () => {
    const ada = await app.newUser({ username: 'augusta' })
    const answers = []
    for (const identifier of [ada.email, 'nobody@example.com', 'nobody']) {
      const steps = []
      for (let time = 1; time <= 7; time += 1) {
        const result = await guess(identifier)
        const isLocked = result.__typename === 'AccountLockedError'
        steps.push(isLocked ? { ...result, lockedUntil: 'later', retryAfterSeconds: 'later' } : result)
      }
      answers.push(steps)
    }
    expect(answers[1]).toEqual(answers[0])
    expect(answers[2]).toEqual(answers[0])
  })

  test('lock the address still when it gets an account', async () => {
    const account = app.newAccount()
    expect(await fail(account.email, 6)).toEqual(LOCKING)
    expectType(await app.anonymous.call(RegisterDocument, { input: account }), 'RegisterSuccess')
    const { token } = proofOf(await app.mail(account.email, SUBJECTS.verification))
    expectType(await app.anonymous.call(VerifyEmailDocument, { input: { token } }), 'VerifyEmailSuccess')
    expectType(await guess(account.email), 'AccountLockedError')
    clock.advance('31m')
    expectType(await guess(account.email, account.password), 'LoginSuccess')
  })

  test('count for the address, however it is written and wherever they come from', async () => {
    const ada = await app.newUser({ email: 'Jean.Bartik@gmail.com' })
    const spellings = [
      'jean.bartik@gmail.com',
      'JEANBARTIK@gmail.com',
      'jeanbartik@googlemail.com',
      'j.ean.bartik+x@gmail.com',
    ]
    for (const [index, identifier] of spellings.entries()) {
      const somewhere = stranger.with({ 'x-forwarded-for': `198.51.100.${index}` })
      const input = { identifier, password: NEXT_PASSWORD }
      expectType(await somewhere.call(LoginDocument, { input }), 'InvalidCredentialsError')
    }
    expectType(await guess(ada.email), 'AccountLockedError')
  })

  test('leave the sessions that are open alone', async () => {
    const ada = await app.newUser()
    await fail(ada.email, 5)
    expect(await ada.sessions()).toHaveLength(1)
    await ada.refreshed()
  })
})

describe('a lock', () => {
  test('holds for half an hour and then ends, and the count begins anew', async () => {
    const ada = await app.newUser()
    await fail(ada.email, 5)
    clock.advance('29m')
    expectType(await guess(ada.email, ada.password), 'AccountLockedError')
    clock.advance('1m')
    expect(await fail(ada.email, 6)).toEqual(LOCKING)
    clock.advance('30m')
    expectType(await guess(ada.email, ada.password), 'LoginSuccess')
  })

  test('is not prolonged by further attempts', async () => {
    const ada = await app.newUser()
    await fail(ada.email, 5)
    clock.advance('20m')
    await fail(ada.email, 10)
    clock.advance('10m')
    expectType(await guess(ada.email, ada.password), 'LoginSuccess')
  })

  test('is lifted by a reset of the password', async () => {
    const ada = await app.newUser()
    await fail(ada.email, 5)
    await app.anonymous.call(RequestPasswordResetDocument, { input: { email: ada.email } })
    const { token } = proofOf(await app.mail(ada.email, SUBJECTS.reset))
    const answer = await app.anonymous.execute(ResetPasswordDocument, { input: { token, newPassword: NEXT_PASSWORD } })
    expect(await app.eventsFrom(answer)).toContain('ACCOUNT_UNLOCKED')
    expectType(await guess(ada.email, NEXT_PASSWORD), 'LoginSuccess')
  })

  test('is lifted by an operator', async () => {
    const ada = await app.newUser()
    await fail(ada.email, 5)
    await app.operator.unlock(ada.email)
    expectType(await guess(ada.email, ada.password), 'LoginSuccess')
    const lifted = () => app.eventsOf(ada, { types: ['ACCOUNT_UNLOCKED'] })
    expect(await lifted()).toHaveLength(1)
    // One that has run out is lifted by nobody.
    await fail(ada.email, 5)
    clock.advance('30m')
    await app.operator.unlock(ada.email)
    expect(await lifted()).toHaveLength(1)
  })
})

test('a success forgets the failures before it', async () => {
  const ada = await app.newUser()
  await fail(ada.email, 4)
  await ada.logIn()
  expect(await fail(ada.email, 6)).toEqual(LOCKING)
})

test('the correct password of an account that waits for its verification forgets no failure, and is one', async () => {
  const { email } = await app.register()
  await fail(email, 3)
  expectType(await guess(email, PASSWORD), 'EmailNotVerifiedError')
  expect(await fail(email, 1)).toEqual(['AccountLockedError'])
})

test.each(['known', 'unknown'])('twenty wrong guesses at once on a %s address lock it once', async (kind) => {
  const ada = await app.newUser()
  const identifier = kind === 'known' ? ada.email : 'anybody@example.com'
  const answers = await Promise.all(Array.from({ length: 20 }, () => guess(identifier)))
  const refusals = answers.filter((answer) => answer.__typename === 'InvalidCredentialsError')
  expect(refusals).toHaveLength(4)
  expect(answers.filter((answer) => answer.__typename === 'AccountLockedError')).toHaveLength(16)
  if (kind === 'unknown') return
  expect(await app.eventsOf(ada, { types: ['ACCOUNT_LOCKED'] })).toHaveLength(1)
  expect((await app.mailsTo(ada.email)).filter(({ subject }) => subject === SUBJECTS.locked)).toHaveLength(1)
})

test('the right guess among many at once is refused as it would be after as many', async () => {
  const ada = await app.newUser()
  const wrong = Array.from({ length: 40 }, () => guess(ada.email))
  const right = guess(ada.email, ada.password)
  await Promise.all(wrong)
  expectType(await right, 'AccountLockedError')
})

test('a lock that comes while the right password is being checked refuses it, and no session opens', async () => {
  const ada = await app.newUser()
  const beside = await startApp({ beside: app })
  await fail(ada.email, 4)
  // Past the check, and before the session.
  const opening = await lockDatabase(app.installation, 'LOCK TABLE refresh_tokens IN SHARE MODE')
  const right = beside.anonymous.execute(LoginDocument, {
    input: { identifier: ada.email, password: ada.password, tokenDelivery: 'BODY' },
  })
  await opening.untilWaiting(1)
  expect(await fail(ada.email, 1)).toEqual(['AccountLockedError'])
  await opening.release()
  const { data, requestId } = await right
  expectType(data.login, 'AccountLockedError')
  expect(await ada.sessions(true)).toHaveLength(1)
  expectType(await guess(ada.email, ada.password), 'AccountLockedError')
  const events = (await app.eventsOf(ada)).filter(({ correlationId }) => correlationId === requestId)
  expect(events).toMatchObject([{ type: 'LOGIN_FAILED', success: false, metadata: { reason: 'OVERTAKEN' } }])
})

test('a threshold that was lowered below the failures so far locks with the next one, and tells the owner', async () => {
  const ada = await app.newUser()
  await fail(ada.email, 4)
  const strict = await startApp({ env: { LOCKOUT_THRESHOLD: '2' }, beside: app })
  const input = { identifier: ada.email, password: NEXT_PASSWORD }
  expectType(await strict.anonymous.call(LoginDocument, { input }), 'AccountLockedError')
  expect(await app.eventsOf(ada, { types: ['ACCOUNT_LOCKED'] })).toHaveLength(1)
  expect((await app.mailsTo(ada.email)).filter(({ subject }) => subject === SUBJECTS.locked)).toHaveLength(1)
})

test('a lock by LOCKOUT_THRESHOLD and LOCKOUT_DURATION is as strict as they say', async () => {
  const strict = await startApp({ env: { LOCKOUT_THRESHOLD: '2', LOCKOUT_DURATION: '5m' } })
  const ada = await strict.newUser()
  const input = { identifier: ada.email, password: NEXT_PASSWORD }
  expectType(await strict.anonymous.call(LoginDocument, { input }), 'InvalidCredentialsError')
  const { retryAfterSeconds } = expectType(await strict.anonymous.call(LoginDocument, { input }), 'AccountLockedError')
  expect(retryAfterSeconds).toBe(5 * 60)
})

import { describe, expect, test } from 'vitest'
import { NEXT_PASSWORD, PASSWORD, startApp } from '../support/app.js'
import { expectType } from '../support/client.js'
import { lockDatabase } from '../support/database-lock.js'
import {
  ExchangeTokenDocument,
  LoginDocument,
  MeDocument,
  RefreshDocument,
  RequestPasswordResetDocument,
  ResetPasswordDocument,
  type ResetPasswordInput,
  VerifyEmailDocument,
} from '../support/generated/graphql.js'
import { proofOf, SUBJECTS } from '../support/mailbox.js'

const app = await startApp()
const { anonymous, clock } = app

const request = (email: string) => anonymous.execute(RequestPasswordResetDocument, { input: { email } })
const attempt = (input: Omit<ResetPasswordInput, 'newPassword'>, newPassword = NEXT_PASSWORD) =>
  anonymous.execute(ResetPasswordDocument, { input: { ...input, newPassword } })
const reset = async (...input: Parameters<typeof attempt>) => (await attempt(...input)).data.resetPassword
const logIn = (identifier: string, password: string) =>
  anonymous.call(LoginDocument, { input: { identifier, password, tokenDelivery: 'BODY' } })
const otherThan = (code: string, step = 1) => String((Number(code) + step) % 1_000_000).padStart(6, '0')

async function obtainProof(email: string) {
  await request(email)
  return proofOf(await app.mail(email, SUBJECTS.reset))
}

const INVALID_TOKEN = {
  __typename: 'InvalidTokenError',
  code: 'INVALID_TOKEN',
  message: 'The token or code is invalid or has expired.',
}

describe('asking for a reset', () => {
  test('sends a link and a code, and changes nothing yet', async () => {
    const ada = await app.newUser()
    const before = await ada.state()
    const answer = await request(ada.email)
    expect(await app.eventsFrom(answer)).toEqual(['PASSWORD_RESET_REQUESTED'])
    const { link, code } = proofOf(await app.mail(ada.email, SUBJECTS.reset))
    expect(link.pathname).toBe('/reset-password')
    expect(code).toMatch(/^\d{6}$/)
    const { events, ...after } = await ada.state()
    expect({ ...after, events: events.slice(1) }).toEqual(before)
    await ada.logIn()
  })

  test('answers the same where there is no account, or none that is active, and sends nothing', async () => {
    const [ada, gone] = [await app.newUser(), await app.newUser()]
    await app.operator.deactivate(gone.email)
    const known = await request(ada.email)
    for (const email of [gone.email, 'nobody@example.com']) {
      const answer = await request(email)
      expect(answer.data).toEqual(known.data)
      expect(answer.status).toBe(known.status)
      expect(await app.eventsFrom(answer)).toEqual(['PASSWORD_RESET_REQUESTED'])
      expect((await app.mailsTo(email)).map(({ subject }) => subject)).not.toContain(SUBJECTS.reset)
    }
  })
})

describe('resetting the password', () => {
  test.each(['token', 'code'] as const)('with the %s of the mail ends every session', async (kind) => {
    const ada = await app.newUser()
    const other = await ada.logIn()
    const { token, code } = await obtainProof(ada.email)
    const answer = await attempt(kind === 'token' ? { token } : { email: ada.email.toUpperCase(), code })
    const { terminatedSessions } = expectType(answer.data.resetPassword, 'ResetPasswordSuccess')
    expect(terminatedSessions).toBe(2)
    for (const each of [ada, other]) {
      expect(await each.call(MeDocument)).toBeNull()
      const refreshed = await anonymous.call(RefreshDocument, { input: { refreshToken: each.refreshToken } })
      expect(expectType(refreshed, 'InvalidRefreshTokenError').reason).toBe('REVOKED')
    }
    const ended = ['SESSION_TERMINATED', 'SESSION_TERMINATED']
    expect((await app.eventsFrom(answer)).sort()).toEqual(['PASSWORD_RESET_COMPLETED', ...ended])

    expectType(await logIn(ada.email, PASSWORD), 'InvalidCredentialsError')
    expectType(await logIn(ada.email, NEXT_PASSWORD), 'LoginSuccess')
    expect((await app.mail(ada.email, SUBJECTS.passwordReset)).text).not.toContain(NEXT_PASSWORD)
  })

  test('with a weak password does not use the mail up', async () => {
    const ada = await app.newUser()
    const { token, code } = await obtainProof(ada.email)
    for (const [proof, password] of [
      [{ token }, 'password'],
      [{ email: ada.email, code }, 'password'],
      [{ token }, PASSWORD],
    ] as const) {
      const answer = await attempt(proof, password)
      expectType(answer.data.resetPassword, 'WeakPasswordError')
      expect(await app.eventsFrom(answer)).toEqual(['PASSWORD_RESET_COMPLETED'])
      const [event] = await app.eventsOf(ada, { types: ['PASSWORD_RESET_COMPLETED'] })
      expect(event).toMatchObject({ correlationId: answer.requestId, metadata: { reason: 'WEAK_PASSWORD' } })
    }
    expect((await ada.call(MeDocument))?.id).toBe(ada.id)
    await ada.logIn()
    expectType(await reset({ email: ada.email, code }), 'ResetPasswordSuccess')
  })

  test('says that it was an earlier password: REUSED', async () => {
    const ada = await app.newUser()
    const { token } = await obtainProof(ada.email)
    const { violations } = expectType(await reset({ token }, PASSWORD), 'WeakPasswordError')
    expect(violations.map(({ rule }) => rule)).toEqual(['REUSED'])
  })

  test.each(['token', 'code'] as const)('works once: the %s is refused the second time', async (kind) => {
    const ada = await app.newUser()
    const { token, code } = await obtainProof(ada.email)
    const proof = kind === 'token' ? { token } : { email: ada.email, code }
    expectType(await reset(proof), 'ResetPasswordSuccess')
    const again = await attempt(proof, 'a third password, never used')
    expect(again.data.resetPassword).toEqual(INVALID_TOKEN)
    expect(await app.eventsFrom(again)).toEqual(['PASSWORD_RESET_COMPLETED'])
    expectType(await logIn(ada.email, NEXT_PASSWORD), 'LoginSuccess')
  })

  test('works for ten minutes', async () => {
    const ada = await app.newUser()
    const { token, code } = await obtainProof(ada.email)
    clock.advance('10m')
    expect(await reset({ token })).toEqual(INVALID_TOKEN)
    expect(await reset({ email: ada.email, code })).toEqual(INVALID_TOKEN)
    await ada.logIn()
  })

  test('works with the code of the latest mail only, and with the link of any, once', async () => {
    const ada = await app.newUser()
    const earlier = await obtainProof(ada.email)
    const later = await obtainProof(ada.email)
    expect(later.token).not.toBe(earlier.token)
    if (earlier.code !== later.code)
      expect(await reset({ email: ada.email, code: earlier.code })).toEqual(INVALID_TOKEN)
    // A stranger who asks once more does not take it from the owner.
    expectType(await reset({ token: earlier.token }), 'ResetPasswordSuccess')
    expect(await reset({ token: later.token })).toEqual(INVALID_TOKEN)
    expect(await reset({ email: ada.email, code: later.code })).toEqual(INVALID_TOKEN)
  })

  test('is refused with the proof of a verification, and with one that never was', async () => {
    const account = await app.register()
    const { token } = proofOf(await app.mail(account.email, SUBJECTS.verification))
    expect(await reset({ token })).toEqual(INVALID_TOKEN)
    expect(await reset({ token: 'A'.repeat(43) })).toEqual(INVALID_TOKEN)
    expect(await reset({ email: 'nobody@example.com', code: '123456' })).toEqual(INVALID_TOKEN)
  })

  test('is no longer possible by code after five wrong ones', async () => {
    const ada = await app.newUser()
    const { code } = await obtainProof(ada.email)
    await Promise.all([1, 2, 3, 4, 5].map((step) => reset({ email: ada.email, code: otherThan(code, step) })))
    expect(await reset({ email: ada.email, code })).toEqual(INVALID_TOKEN)
    await ada.logIn()
    const { code: fresh } = await obtainProof(ada.email)
    expectType(await reset({ email: ada.email, code: fresh }), 'ResetPasswordSuccess')
  })

  test('of ten at once succeeds once', async () => {
    const ada = await app.newUser()
    const { token } = await obtainProof(ada.email)
    const attempts = Array.from({ length: 10 }, (_, index) => reset({ token }, `${NEXT_PASSWORD} ${index}`))
    const results = await Promise.all(attempts)
    expect(results.filter((result) => result.__typename === 'ResetPasswordSuccess')).toHaveLength(1)
  })

  test('proves the address as well: an account that waited for its verification can be used', async () => {
    const { email } = await app.register()
    const { token } = await obtainProof(email)
    expectType(await reset({ token }), 'ResetPasswordSuccess')
    const { authentication } = expectType(await logIn(email, NEXT_PASSWORD), 'LoginSuccess')
    expect(authentication.user.emailVerified).toBe(true)
  })

  test('leaves no other mail good: not that of the registration, and not what a proof of it gave', async () => {
    const account = await app.register()
    const verification = proofOf(await app.mail(account.email, SUBJECTS.verification))
    expect(await reset({ token: (await obtainProof(account.email)).token })).toMatchObject({ terminatedSessions: 0 })
    const late = await anonymous.call(VerifyEmailDocument, { input: { token: verification.token } })
    expectType(late, 'InvalidTokenError')

    const other = await app.register()
    const { token } = proofOf(await app.mail(other.email, SUBJECTS.verification))
    const verified = expectType(await anonymous.call(VerifyEmailDocument, { input: { token } }), 'VerifyEmailSuccess')
    await reset({ token: (await obtainProof(other.email)).token })
    const input = { token: verified.exchangeToken, tokenDelivery: 'BODY' } as const
    expectType(await anonymous.call(ExchangeTokenDocument, { input }), 'InvalidTokenError')
  })

  test('is refused once the account is deactivated', async () => {
    const ada = await app.newUser()
    const { token } = await obtainProof(ada.email)
    await app.operator.deactivate(ada.email)
    expect(await reset({ token })).toEqual(INVALID_TOKEN)
  })
})

test("of an address that only waits for its verification makes an account with nobody's words", async () => {
  const email = 'contested.reset@example.com'
  const words = { username: 'mallory', displayName: 'Ask Mallory before you pay', timezone: 'Pacific/Kiritimati' }
  await app.register({ email, password: PASSWORD, ...words })
  expectType(await reset({ token: (await obtainProof(email)).token }), 'ResetPasswordSuccess')
  const login = expectType(await logIn(email, NEXT_PASSWORD), 'LoginSuccess')
  expect(login.authentication.user).toMatchObject({ username: null, displayName: 'contested.reset', timezone: 'UTC' })
  expectType(await logIn('mallory', PASSWORD), 'InvalidCredentialsError')
  // The name is free again.
  await app.newUser({ username: 'mallory' })
})

describe('a reset of an address that waits for its verification', () => {
  const waiting = async (email: string) => {
    await app.register({ email })
    return obtainProof(email)
  }

  test('makes an account that stays, also when another one is asked for at the same moment', async () => {
    const email = 'asked.twice@example.com'
    const { token } = await waiting(email)
    const empty = `SELECT FROM users u WHERE email = '${email}' AND NOT EXISTS (
      SELECT FROM password_history WHERE user_id = u.id) FOR UPDATE`
    const lock = await lockDatabase(app.installation, empty)
    const first = reset({ token })
    await lock.untilWaiting(1)
    await request(email)
    app.operator.wake('mail-request')
    await lock.untilWaiting(2)
    await lock.release()
    expectType(await first, 'ResetPasswordSuccess')
    clock.advance('25h')
    await app.operator.purge()
    expectType(await logIn(email, NEXT_PASSWORD), 'LoginSuccess')
  })

  test('makes one of the address as it was spelt there, whatever others spell later', async () => {
    const { token } = await waiting('victim.two@gmail.com')
    await request('victimtwo+ask-mallory@gmail.com')
    await app.mailsTo('victimtwo+ask-mallory@gmail.com')
    expectType(await reset({ token }), 'ResetPasswordSuccess')
    const login = expectType(await logIn('victimtwo@gmail.com', NEXT_PASSWORD), 'LoginSuccess')
    expect(login.authentication.user.email).toBe('victim.two@gmail.com')
  })
})

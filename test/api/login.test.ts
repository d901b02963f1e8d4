import { describe, expect, test } from 'vitest'
import { NEXT_PASSWORD, startApp } from '../support/app.js'
import { expectType } from '../support/client.js'
import { lockDatabase } from '../support/database-lock.js'
import {
  ChangePasswordDocument,
  LoginDocument,
  type LoginInput,
  MeDocument,
  RegisterDocument,
} from '../support/generated/graphql.js'

const app = await startApp()
const { anonymous } = app

const attempt = (input: LoginInput) => anonymous.execute(LoginDocument, { input: { tokenDelivery: 'BODY', ...input } })
const logIn = async (input: LoginInput) => (await attempt(input)).data.login

const INVALID_CREDENTIALS = {
  __typename: 'InvalidCredentialsError',
  code: 'INVALID_CREDENTIALS',
  message: 'The identifier or the password is not correct.',
}
const claimsOf = (token: string) => JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString())

describe('signing in', () => {
  test('gives a pair of tokens, the user and the session', async () => {
    const ada = await app.newUser({ username: 'ada' })
    const answer = await attempt({ identifier: ada.email, password: ada.password })
    const { authentication } = expectType(answer.data.login, 'LoginSuccess')
    expect(authentication).toMatchObject({ tokenType: 'Bearer', refreshToken: expect.stringMatching(/^[\w-]{43,}$/) })
    expect(authentication.expiresIn).toBe(15 * 60)
    expect(authentication.user).toMatchObject({ id: ada.id, email: ada.email, lastLoginAt: expect.any(String) })
    expect(authentication.session).toMatchObject({ isCurrent: true, isActive: true, isVerified: false, endedAt: null })
    expect(claimsOf(authentication.accessToken)).toMatchObject({
      ...{ sub: ada.id, sid: authentication.session.id, amr: ['pwd'], email: ada.email, role: 'user', permissions: [] },
    })
    expect(answer.headers.get('cache-control')).toBe('no-store')
    expect(await app.eventsFrom(answer)).toEqual(['LOGIN_SUCCEEDED', 'SESSION_CREATED'])
  })

  test('works with the address and with the username, in whatever letters', async () => {
    const { password } = await app.newUser({ email: 'Rosalind@example.com', username: 'Rosalind.F' })
    for (const identifier of ['Rosalind@example.com', 'ROSALIND@EXAMPLE.COM', 'Rosalind.F', 'rosalind.f']) {
      expectType(await logIn({ identifier, password }), 'LoginSuccess')
    }
  })

  test('lasts a week, or two where one asks to be remembered', async () => {
    const ada = await app.newUser()
    const days = async (rememberMe: boolean) => {
      const { authentication } = await ada.logIn({ rememberMe })
      expect(authentication.session.rememberMe).toBe(rememberMe)
      expect(authentication.refreshExpiresAt).toBe(authentication.session.expiresAt)
      return (Date.parse(authentication.refreshExpiresAt) - Date.parse(authentication.session.createdAt)) / 86_400_000
    }
    expect(await days(false)).toBe(7)
    expect(await days(true)).toBe(14)
  })

  test('brings what an operator has granted, at once', async () => {
    const ada = await app.newUser()
    await app.operator.grant(ada.email, 'admin')
    expect(await ada.call(MeDocument)).toMatchObject({ role: 'admin', permissions: ['audit:read'] })
    const { authentication } = await ada.logIn()
    expect(claimsOf(authentication.accessToken)).toMatchObject({ role: 'admin', permissions: ['audit:read'] })
  })
})

describe('signing in is refused', () => {
  test('with a wrong password', async () => {
    const ada = await app.newUser()
    const before = await ada.state()
    const answer = await attempt({ identifier: ada.email, password: NEXT_PASSWORD })
    expect(answer.data.login).toEqual(INVALID_CREDENTIALS)
    const { events, ...rest } = await ada.state()
    expect(rest).toEqual({ me: before.me, sessions: before.sessions })
    expect(events.slice(1)).toEqual(before.events)
    expect(events[0]).toMatchObject({ type: 'LOGIN_FAILED', success: false, correlationId: answer.requestId })
  })

  test('with an address and with a username that nobody has, in the same words', async () => {
    const { password } = app.newAccount()
    for (const identifier of ['nobody@example.com', 'nobody']) {
      const answer = await attempt({ identifier, password })
      expect(answer.data.login).toEqual(INVALID_CREDENTIALS)
      expect(await app.eventsFrom(answer)).toEqual(['LOGIN_FAILED'])
    }
  })

  test('to a deactivated account, whose sessions have ended, in the same words', async () => {
    const ada = await app.newUser()
    await app.operator.deactivate(ada.email)
    const answer = await attempt({ identifier: ada.email, password: ada.password })
    expect(answer.data.login).toEqual(INVALID_CREDENTIALS)
    expect(await app.eventsFrom(answer)).toEqual(['LOGIN_FAILED'])
    expect(await ada.call(MeDocument)).toBeNull()
    const [ended] = await app.eventsOf(ada, { types: ['SESSION_TERMINATED'] })
    expect(ended).toMatchObject({ sessionId: ada.sessionId, metadata: { reason: 'ADMIN' } })
  })

  test('to an unverified account, which only a correct password learns', async () => {
    const { email, password } = await app.register()
    expect(await logIn({ identifier: email, password: NEXT_PASSWORD })).toEqual(INVALID_CREDENTIALS)
    const answer = await attempt({ identifier: email, password })
    expect(answer.data.login).toMatchObject({ __typename: 'EmailNotVerifiedError', code: 'EMAIL_NOT_VERIFIED' })
    expect(await app.eventsFrom(answer)).toEqual(['LOGIN_FAILED'])
  })

  test('without saying in the answer why, which the audit log does', async () => {
    const ada = await app.newUser()
    await logIn({ identifier: ada.email, password: NEXT_PASSWORD })
    await app.operator.deactivate(ada.email)
    await logIn({ identifier: ada.email, password: ada.password })
    const reasons = (await app.eventsOf(ada, { types: ['LOGIN_FAILED'] })).map(({ metadata }) => metadata.reason)
    expect(reasons).toEqual(['DEACTIVATED', 'WRONG_PASSWORD'])
  })
})

describe('an account whose password was hashed with other parameters', () => {
  test('is rehashed when its owner signs in, and only then', async () => {
    const ada = await app.newUser()
    const before = await app.operator.passwordHashOf(ada)
    const stronger = await startApp({ beside: app, env: { PASSWORD_HASH_MEMORY_KIB: '2048' } })
    const signIn = (password: string) =>
      stronger.anonymous.call(LoginDocument, { input: { identifier: ada.email, password, tokenDelivery: 'BODY' } })

    expectType(await signIn(NEXT_PASSWORD), 'InvalidCredentialsError')
    expect(await app.operator.passwordHashOf(ada)).toBe(before)
    expectType(await signIn(ada.password), 'LoginSuccess')
    const after = await app.operator.passwordHashOf(ada)
    expect(before).toContain('$m=1024,')
    expect(after).toContain('$m=2048,')
    expectType(await signIn(ada.password), 'LoginSuccess')
    expect(await app.operator.passwordHashOf(ada)).toBe(after)
  })

  test('is kept from as many earlier passwords as before', async () => {
    const ada = await app.newUser()
    const change = { currentPassword: ada.password, newPassword: NEXT_PASSWORD }
    expectType(await ada.call(ChangePasswordDocument, { input: change }), 'ChangePasswordSuccess')
    const stronger = await startApp({ beside: app, env: { PASSWORD_HASH_MEMORY_KIB: '2048', PASSWORD_HISTORY: '2' } })
    const input = { identifier: ada.email, password: NEXT_PASSWORD, tokenDelivery: 'BODY' } as const
    const { authentication } = expectType(await stronger.anonymous.call(LoginDocument, { input }), 'LoginSuccess')
    const signedIn = stronger.anonymous.with({ authorization: `Bearer ${authentication.accessToken}` })
    const back = { currentPassword: NEXT_PASSWORD, newPassword: ada.password }
    const refused = expectType(await signedIn.call(ChangePasswordDocument, { input: back }), 'WeakPasswordError')
    expect(refused.violations.map(({ rule }) => rule)).toEqual(['REUSED'])
  })

  test('signs in at two processes at once', async () => {
    const ada = await app.newUser()
    const start = () => startApp({ beside: app, env: { PASSWORD_HASH_ITERATIONS: '2' } })
    const stronger = [await start(), await start()]
    const input = { identifier: ada.email, password: ada.password, tokenDelivery: 'BODY' } as const
    // Both have checked the old hash, and wait for the account.
    const lock = await lockDatabase(app.installation, `SELECT FROM users WHERE id = '${ada.id}' FOR UPDATE`)
    const signIns = Promise.all(stronger.map(({ anonymous }) => anonymous.call(LoginDocument, { input })))
    await lock.untilWaiting(2)
    await lock.release()
    for (const result of await signIns) expectType(result, 'LoginSuccess')
    expect(await app.eventsOf(ada, { types: ['LOGIN_FAILED'] })).toEqual([])
  })
})

test('a username that looks like an address does not exist, so the two never collide', async () => {
  const input = app.newAccount({ username: 'ada@example.com' })
  expect((await anonymous.refusal(RegisterDocument, { input })).code).toBe('BAD_USER_INPUT')
})

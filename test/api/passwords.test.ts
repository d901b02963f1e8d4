import { describe, expect, test } from 'vitest'
import { NEXT_PASSWORD, PASSWORD, startApp } from '../support/app.js'
import { expectType } from '../support/client.js'
import { openDatabase } from '../support/database.js'
import { lockDatabase } from '../support/database-lock.js'
import {
  ChangePasswordDocument,
  LoginDocument,
  MeDocument,
  RefreshDocument,
  TerminateAllSessionsDocument,
  TerminateSessionDocument,
} from '../support/generated/graphql.js'
import { SUBJECTS } from '../support/mailbox.js'
import { openSocket } from '../support/streams.js'
import type { User } from '../support/user.js'

const app = await startApp()
const { anonymous, clock } = app

const change = (user: User, newPassword: string, currentPassword = user.password) =>
  user.execute(ChangePasswordDocument, { input: { currentPassword, newPassword } })
const logIn = (identifier: string, password: string) =>
  anonymous.call(LoginDocument, { input: { identifier, password, tokenDelivery: 'BODY' } })

/** The state without what every refused attempt adds: one event. */
async function stateBefore(user: User) {
  const { events, ...rest } = await user.state()
  return { events: events.slice(1), newest: events[0], ...rest }
}

describe('changing the password', () => {
  test('ends all other sessions and gives the current one a new pair', async () => {
    const ada = await app.newUser()
    const other = await ada.logIn()
    clock.advance('1s')
    const answer = await change(ada, NEXT_PASSWORD)
    const changed = expectType(answer.data.changePassword, 'ChangePasswordSuccess')
    expect(changed.terminatedSessions).toBe(1)
    expect(changed.authentication.session).toMatchObject({ id: ada.sessionId, isCurrent: true, isActive: true })
    expect(Date.parse(changed.authentication.user.passwordChangedAt)).toBeGreaterThan(
      Date.parse(ada.authentication.user.passwordChangedAt),
    )
    expect(await other.call(MeDocument)).toBeNull()
    const renewed = anonymous.with({ authorization: `Bearer ${changed.authentication.accessToken}` })
    expect((await renewed.call(MeDocument))?.id).toBe(ada.id)

    const refresh = (refreshToken: string) => anonymous.call(RefreshDocument, { input: { refreshToken } })
    expectType(await refresh(ada.refreshToken), 'InvalidRefreshTokenError')
    expectType(await refresh(changed.authentication.refreshToken ?? ''), 'RefreshSuccess')
    expect((await app.eventsFrom(answer)).sort()).toEqual(['PASSWORD_CHANGED', 'SESSION_TERMINATED'])
    const [ended] = await app.eventsOf(ada, { types: ['SESSION_TERMINATED'] })
    expect(ended).toMatchObject({ sessionId: other.sessionId, metadata: { reason: 'PASSWORD_CHANGED' } })
  })

  test('lets the new password in and the old one not, and tells the owner', async () => {
    const ada = await app.newUser()
    await change(ada, NEXT_PASSWORD)
    expectType(await logIn(ada.email, PASSWORD), 'InvalidCredentialsError')
    expectType(await logIn(ada.email, NEXT_PASSWORD), 'LoginSuccess')
    const mail = await app.mail(ada.email, SUBJECTS.passwordChanged)
    expect(mail.text).toContain('127.0.0.1')
    expect(mail.text).not.toContain(NEXT_PASSWORD)
  })

  test('with a wrong current password changes nothing', async () => {
    const ada = await app.newUser()
    const before = await ada.state()
    const answer = await change(ada, NEXT_PASSWORD, 'not my password at all')
    expect(answer.data.changePassword).toEqual({
      __typename: 'InvalidCredentialsError',
      code: 'INVALID_CREDENTIALS',
      message: 'The current password is not correct.',
    })
    const { newest, ...after } = await stateBefore(ada)
    expect(after).toEqual(before)
    expect(newest).toMatchObject({ type: 'PASSWORD_CHANGE_FAILED', success: false, sessionId: ada.sessionId })
    expectType(await logIn(ada.email, NEXT_PASSWORD), 'InvalidCredentialsError')
    await ada.logIn()
  })

  test.each([
    ['weak', 'password', 'TOO_SHORT'],
    ['like the owner', 'over quiet harbour lovelace', 'SIMILAR_TO_ACCOUNT'],
    ['the one that it has already', PASSWORD, 'REUSED'],
  ])('to one that is %s changes nothing', async (_, newPassword, rule) => {
    const ada = await app.newUser({ lastName: 'Lovelace' })
    const before = await ada.state()
    const answer = await change(ada, newPassword)
    const error = expectType(answer.data.changePassword, 'WeakPasswordError')
    expect(error.violations.map((violation) => violation.rule)).toContain(rule)
    const { newest, ...after } = await stateBefore(ada)
    expect(after).toEqual(before)
    expect(newest).toMatchObject({ type: 'PASSWORD_CHANGE_FAILED', metadata: { reason: 'WEAK_PASSWORD' } })
    await ada.logIn()
    await ada.refreshed()
  })

  test('back to an earlier one is possible once enough others came between', async () => {
    const short = await startApp({ env: { PASSWORD_HISTORY: '3' } })
    const ada = await short.newUser()
    const passwords = [PASSWORD, NEXT_PASSWORD, 'the third of all my passwords', 'one after the third lantern']
    const outcomes = []
    let { accessToken } = ada
    for (const [index, next] of [...passwords.slice(1, 3), PASSWORD, ...passwords.slice(3), PASSWORD].entries()) {
      const current = [PASSWORD, NEXT_PASSWORD, passwords[2], passwords[2], passwords[3]][index] ?? ''
      const input = { currentPassword: current, newPassword: next }
      const signedIn = short.anonymous.with({ authorization: `Bearer ${accessToken}` })
      const result = await signedIn.call(ChangePasswordDocument, { input })
      outcomes.push(result.__typename)
      if (result.__typename === 'ChangePasswordSuccess') accessToken = result.authentication.accessToken
    }
    const ok = 'ChangePasswordSuccess'
    expect(outcomes).toEqual([ok, ok, 'WeakPasswordError', ok, ok])
    // What counts no longer is not kept.
    const { query } = await openDatabase(short.installation)
    const kept = await query('SELECT count(*)::int AS count FROM password_history WHERE user_id = $1', [ada.id])
    expect(kept.rows).toEqual([{ count: 3 }])
  })

  test('twice at the same time succeeds once', async () => {
    const ada = await app.newUser()
    const next = [NEXT_PASSWORD, 'another choice of nine words']
    const answers = await Promise.all(next.map((password) => change(ada, password)))
    const winners = answers.flatMap((answer, index) =>
      answer.data.changePassword.__typename === 'ChangePasswordSuccess' ? [next[index] ?? ''] : [],
    )
    expect(winners).toHaveLength(1)
    expectType(await logIn(ada.email, winners[0] ?? ''), 'LoginSuccess')
  })
})

test('a password that has leaked is of no use while its owner changes it', async () => {
  const ada = await app.newUser()
  const [answer, ...logins] = await Promise.all([
    change(ada, NEXT_PASSWORD),
    ...Array.from({ length: 5 }, () => logIn(ada.email, PASSWORD)),
  ])
  const { authentication } = expectType(answer.data.changePassword, 'ChangePasswordSuccess')
  const renewed = anonymous.with({ authorization: `Bearer ${authentication.accessToken}` })
  expect((await renewed.call(MeDocument))?.currentSession.id).toBe(ada.sessionId)
  for (const login of logins) {
    if (login.__typename !== 'LoginSuccess') continue
    const thief = anonymous.with({ authorization: `Bearer ${login.authentication.accessToken}` })
    expect(await thief.call(MeDocument)).toBeNull()
  }
})

test('a copy of an access token is of no use once the password was changed, in the same session too', async () => {
  const ada = await app.newUser()
  const { authentication } = expectType((await change(ada, NEXT_PASSWORD)).data.changePassword, 'ChangePasswordSuccess')
  expect(await ada.call(MeDocument)).toBeNull()
  const refusal = await ada.refusal(TerminateAllSessionsDocument, { input: { includeCurrent: true } })
  expect(refusal.code).toBe('UNAUTHENTICATED')
  const renewed = anonymous.with({ authorization: `Bearer ${authentication.accessToken}` })
  expect((await renewed.call(MeDocument))?.currentSession.id).toBe(ada.sessionId)
})

test('nor is it where the clock of the server is behind that of the one that made the change before', async () => {
  const ada = await app.newUser()
  const first = expectType((await change(ada, NEXT_PASSWORD)).data.changePassword, 'ChangePasswordSuccess')
  const copy = anonymous.with({ authorization: `Bearer ${first.authentication.accessToken}` })
  clock.advance('-4s')
  const input = { currentPassword: NEXT_PASSWORD, newPassword: 'another choice of nine words' }
  const { authentication } = expectType(await copy.call(ChangePasswordDocument, { input }), 'ChangePasswordSuccess')
  expect(await copy.call(MeDocument)).toBeNull()
  const renewed = anonymous.with({ authorization: `Bearer ${authentication.accessToken}` })
  expect((await renewed.call(MeDocument))?.currentSession.id).toBe(ada.sessionId)
  clock.advance('4s')
})

test('a WebSocket from before the password was changed is closed, so that its client connects anew', async () => {
  const ada = await app.newUser()
  const socket = await openSocket(app.url, { token: ada.accessToken })
  expectType((await change(ada, NEXT_PASSWORD)).data.changePassword, 'ChangePasswordSuccess')
  socket.follow('subscription { securityAlerts { cursor } }')
  expect(await socket.closing).toMatchObject({ code: 4401 })
})

test('a session that ends meanwhile changes no password', async () => {
  const ada = await app.newUser()
  const other = await ada.logIn()
  const lock = await lockDatabase(app.installation, `SELECT FROM users WHERE id = '${ada.id}' FOR UPDATE`)
  const input = { currentPassword: PASSWORD, newPassword: NEXT_PASSWORD }
  const refusal = other.refusal(ChangePasswordDocument, { input })
  await lock.untilWaiting(1)
  const ended = await ada.call(TerminateSessionDocument, { input: { sessionId: other.sessionId } })
  expectType(ended, 'TerminateSessionSuccess')
  await lock.release()
  expect((await refusal).code).toBe('UNAUTHENTICATED')
  expect((await ada.call(MeDocument))?.id).toBe(ada.id)
  // What was found right is told of as well: the token may have been stolen.
  const [event] = await app.eventsOf(ada, { types: ['PASSWORD_CHANGE_FAILED'] })
  expect(event).toMatchObject({ sessionId: other.sessionId, metadata: { reason: 'SESSION_ENDED' } })
  await ada.logIn()
})

describe('who is signed in and guesses the password', () => {
  const guess = (user: User) => change(user, NEXT_PASSWORD, 'not my password at all')

  test('is signed out after twenty guesses, and the owner is told; no other session is touched', async () => {
    const ada = await app.newUser()
    const thief = await ada.logIn()
    for (let time = 0; time < 19; time += 1) await guess(thief)
    expect((await thief.call(MeDocument))?.id).toBe(ada.id)
    expectType((await guess(thief)).data.changePassword, 'InvalidCredentialsError')
    expect(await thief.call(MeDocument)).toBeNull()
    const mail = await app.mail(ada.email, SUBJECTS.sessionEnded)
    expect(mail.text).toContain('wrong current password')
    expect((await ada.call(MeDocument))?.id).toBe(ada.id)
    await ada.logIn()
  })

  test('gains no more guesses by a pause, however long the session lasts', async () => {
    const ada = await app.newUser()
    const thief = await ada.logIn()
    for (let time = 0; time < 19; time += 1) await guess(thief)
    clock.advance('2d')
    await app.operator.purge()
    const renewed = await thief.refreshed()
    expect((await renewed.call(MeDocument))?.id).toBe(ada.id)
    await guess(renewed)
    expect(await renewed.call(MeDocument)).toBeNull()
    await app.operator.purge()
  })

  test('guesses anew once the right one was found: the errors of an owner do not add up', async () => {
    const ada = await app.newUser()
    for (let time = 0; time < 19; time += 1) await guess(ada)
    const { changePassword } = (await change(ada, NEXT_PASSWORD)).data
    const { accessToken } = expectType(changePassword, 'ChangePasswordSuccess').authentication
    const changed = anonymous.with({ authorization: `Bearer ${accessToken}` })
    const wrong = { currentPassword: 'not my password at all', newPassword: PASSWORD }
    expectType(await changed.call(ChangePasswordDocument, { input: wrong }), 'InvalidCredentialsError')
    expect((await changed.call(MeDocument))?.id).toBe(ada.id)
  })

  test('is not let go on by guessing at the same time, and the owner is told once', async () => {
    const ada = await app.newUser()
    const thief = await ada.logIn()
    await Promise.all(Array.from({ length: 25 }, () => guess(thief)))
    expect(await thief.call(MeDocument)).toBeNull()
    const subjects = (await app.mailsTo(ada.email)).map(({ subject }) => subject)
    expect(subjects.filter((subject) => subject === SUBJECTS.sessionEnded)).toHaveLength(1)
  })
})

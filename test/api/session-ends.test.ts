import { describe, expect, test } from 'vitest'
import { NEXT_PASSWORD, startApp } from '../support/app.js'
import { expectType } from '../support/client.js'
import { lockDatabase } from '../support/database-lock.js'
import {
  ChangePasswordDocument,
  LogoutDocument,
  MeDocument,
  RefreshDocument,
  SessionsDocument,
  TerminateAllSessionsDocument,
  TerminateSessionDocument,
} from '../support/generated/graphql.js'
import { SUBJECTS } from '../support/mailbox.js'
import type { User } from '../support/user.js'

const app = await startApp()
const NOT_FOUND = {
  __typename: 'SessionNotFoundError',
  code: 'SESSION_NOT_FOUND',
  message: 'You have no such session.',
}

async function expectSignedOut(user: User): Promise<void> {
  expect(await user.call(MeDocument)).toBeNull()
  expect((await user.refusal(SessionsDocument)).code).toBe('UNAUTHENTICATED')
  const refreshed = await app.anonymous.call(RefreshDocument, { input: { refreshToken: user.refreshToken } })
  expect(expectType(refreshed, 'InvalidRefreshTokenError').reason).toBe('REVOKED')
}
const terminate = (user: User, sessionId: string) => user.execute(TerminateSessionDocument, { input: { sessionId } })

describe('signing out', () => {
  test('with an access token that has expired ends the session all the same', async () => {
    const ada = await app.newUser()
    app.clock.advance('16m')
    expect(await ada.call(MeDocument)).toBeNull()
    const answer = await ada.execute(LogoutDocument)
    expectType(answer.data.logout, 'LogoutSuccess')
    expect(await app.eventsFrom(answer)).toEqual(['LOGGED_OUT'])
    await expectSignedOut(ada)
  })

  test('with a copy of a refresh token that was used is reuse, unless it comes with the access token', async () => {
    const headers = { origin: app.url.replace('127.0.0.1', 'localhost') }
    const [ada, bob] = [await app.newUser(), await app.newUser()]
    for (const user of [ada, bob]) {
      await user.refreshed()
      app.clock.advance('31s')
    }
    const leave = ({ refreshToken }: User, more = {}) =>
      app.anonymous.with({ ...headers, cookie: `portcullis_refresh=${refreshToken}`, ...more }).execute(LogoutDocument)
    const copied = await leave(ada)
    expectType(copied.data.logout, 'LogoutSuccess')
    expect((await app.eventsFrom(copied)).sort()).toEqual(['SESSION_TERMINATED', 'TOKEN_REUSE_DETECTED'])
    expect((await app.mail(ada.email, SUBJECTS.sessionEnded)).text).toContain('was used a second time')
    const own = await leave(bob, { authorization: `Bearer ${bob.accessToken}` })
    expect(await app.eventsFrom(own)).toEqual(['LOGGED_OUT'])
  })

  test('with a refresh token that another page has used just before is no reuse, grace period or not', async () => {
    const server = await startApp({ env: { REFRESH_GRACE_PERIOD: '0s' } })
    const ada = await server.newUser()
    await ada.refreshed()
    server.clock.advance('5s')
    const headers = { origin: server.url.replace('127.0.0.1', 'localhost') }
    const page = server.anonymous.with({ ...headers, cookie: `portcullis_refresh=${ada.refreshToken}` })
    expect(await server.eventsFrom(await page.execute(LogoutDocument))).toEqual(['LOGGED_OUT'])
  })

  test('with an access token that was tampered with ends nothing', async () => {
    const ada = await app.newUser()
    const [head, , signature] = ada.accessToken.split('.')
    const [, claims] = (await app.newUser()).accessToken.split('.')
    const forged = app.anonymous.with({ authorization: `Bearer ${head}.${claims}.${signature}` })
    const answer = await forged.execute(LogoutDocument)
    expectType(answer.data.logout, 'LogoutSuccess')
    expect(await app.eventsFrom(answer)).toEqual([])
  })
})

test('Signing out with a copy of a token that is older than the password ends nothing', async () => {
  const ada = await app.newUser()
  app.clock.advance('1m')
  const input = { currentPassword: ada.password, newPassword: NEXT_PASSWORD }
  const { authentication } = expectType(await ada.call(ChangePasswordDocument, { input }), 'ChangePasswordSuccess')
  expectType(await ada.call(LogoutDocument), 'LogoutSuccess')
  app.clock.advance('16m')
  expectType(await ada.call(LogoutDocument), 'LogoutSuccess')
  const { refreshToken } = authentication
  expectType(await app.anonymous.call(RefreshDocument, { input: { refreshToken } }), 'RefreshSuccess')
})

describe('terminating a session', () => {
  test('refuses it on the very next request', async () => {
    const ada = await app.newUser()
    const stolen = await ada.logIn()
    expect((await stolen.call(MeDocument))?.id).toBe(ada.id)
    const answer = await terminate(ada, stolen.sessionId)
    await expectSignedOut(stolen)
    const { session } = expectType(answer.data.terminateSession, 'TerminateSessionSuccess')
    expect(session).toMatchObject({ id: stolen.sessionId, isActive: false, isCurrent: false, endReason: 'TERMINATED' })
    expect(await app.eventsFrom(answer)).toEqual(['SESSION_TERMINATED'])
    expect((await ada.call(MeDocument))?.id).toBe(ada.id)
  })

  test('can be the end of the current one', async () => {
    const ada = await app.newUser()
    const { session } = expectType(
      (await terminate(ada, ada.sessionId)).data.terminateSession,
      'TerminateSessionSuccess',
    )
    expect(session).toMatchObject({ isCurrent: true, isActive: false })
    await expectSignedOut(ada)
  })

  test('of somebody else answers as if there were none: it goes on', async () => {
    const [ada, eve] = [await app.newUser(), await app.newUser()]
    const before = await ada.state()
    const answer = await terminate(eve, ada.sessionId)
    expect(answer.data.terminateSession).toEqual(NOT_FOUND)
    expect(await app.eventsFrom(answer)).toEqual(['SESSION_TERMINATED'])
    expect(await ada.state()).toEqual(before)
    await ada.refreshed()
  })

  test('that never was, or has ended, answers the same', async () => {
    const ada = await app.newUser()
    const other = await ada.logIn()
    expect((await terminate(ada, '0190c5e8-0000-7000-8000-000000000001')).data.terminateSession).toEqual(NOT_FOUND)
    await terminate(ada, other.sessionId)
    expect((await terminate(ada, other.sessionId)).data.terminateSession).toEqual(NOT_FOUND)
    const ends = await app.eventsOf(ada, { types: ['SESSION_TERMINATED'], success: true })
    expect(ends).toHaveLength(1)
  })

  test('is for those who are signed in', async () => {
    const ada = await app.newUser()
    const variables = { input: { sessionId: ada.sessionId } }
    expect((await app.anonymous.refusal(TerminateSessionDocument, variables)).code).toBe('UNAUTHENTICATED')
    expect(await ada.sessions()).toHaveLength(1)
  })
})

describe('terminating all sessions', () => {
  test('ends all but the current one', async () => {
    const ada = await app.newUser()
    const others = [await ada.logIn(), await ada.logIn()]
    const answer = await ada.execute(TerminateAllSessionsDocument)
    const { terminatedSessions } = expectType(answer.data.terminateAllSessions, 'TerminateAllSessionsSuccess')
    expect(terminatedSessions).toBe(2)
    for (const other of others) await expectSignedOut(other)
    expect((await ada.call(MeDocument))?.id).toBe(ada.id)
    expect(await app.eventsFrom(answer)).toEqual(['SESSION_TERMINATED', 'SESSION_TERMINATED'])
    const events = await app.eventsOf(ada, { types: ['SESSION_TERMINATED'] })
    expect(new Set(events.map(({ sessionId }) => sessionId))).toEqual(new Set(others.map(({ sessionId }) => sessionId)))
  })

  test('ends the current one too when it is told to', async () => {
    const ada = await app.newUser()
    const other = await ada.logIn()
    const input = { includeCurrent: true }
    const { terminatedSessions } = await ada.call(TerminateAllSessionsDocument, { input })
    expect(terminatedSessions).toBe(2)
    for (const each of [ada, other]) await expectSignedOut(each)
    await ada.logIn()
  })

  test('leaves the sessions of others alone, and counts only those that were active', async () => {
    const [ada, bob] = [await app.newUser(), await app.newUser()]
    await terminate(ada, (await ada.logIn()).sessionId)
    const answer = await ada.execute(TerminateAllSessionsDocument, { input: { includeCurrent: false } })
    expect(answer.data.terminateAllSessions.terminatedSessions).toBe(0)
    expect(await app.eventsFrom(answer)).toEqual([])
    expect((await bob.call(MeDocument))?.id).toBe(bob.id)
  })

  test('ends for good what is idle by the present setting only', async () => {
    const impatient = await startApp({ env: { SESSION_IDLE_TIMEOUT: '1h' } })
    const patient = await startApp({ beside: impatient })
    const ada = await impatient.newUser()
    patient.clock.advance('2h')
    impatient.clock.advance('2h')
    const bob = await ada.logIn()
    expectType(await bob.call(TerminateAllSessionsDocument), 'TerminateAllSessionsSuccess')
    const input = { refreshToken: ada.refreshToken }
    const refreshed = await patient.anonymous.call(RefreshDocument, { input })
    expect(expectType(refreshed, 'InvalidRefreshTokenError').reason).toBe('EXPIRED')
    const ended = (await bob.sessions(true)).find(({ id }) => id === ada.sessionId)
    const idleSince = Date.parse(ada.authentication.session.lastActivityAt) + 3_600_000
    expect(ended).toMatchObject({ endReason: 'EXPIRED', endedAt: new Date(idleSince).toISOString() })
  })

  test('is done all the same when others lock the same sessions in another order', async () => {
    const ada = await app.newUser()
    const [first, middle, last] = [await ada.logIn(), await ada.logIn(), await ada.logIn()]
    const lockOf = ({ sessionId }: User) => `SELECT FROM sessions WHERE id = '${sessionId}' FOR UPDATE`
    const lock = await lockDatabase(app.installation, lockOf(middle))
    const ending = ada.call(TerminateAllSessionsDocument)
    await lock.untilWaiting(1)
    // It has one of these already, and waits for the one in the middle.
    for (const session of [first, last]) await lock.extend(lockOf(session))
    await lock.release()
    expect(await ending).toMatchObject({ terminatedSessions: 3 })
    expect(await ada.sessions()).toMatchObject([{ id: ada.sessionId }])
  })

  test('locks the account before the sessions, as a change of the password does: neither waits for the other', async () => {
    const ada = await app.newUser()
    const other = await ada.logIn()
    const account = await lockDatabase(app.installation, `SELECT FROM users WHERE id = '${ada.id}' FOR NO KEY UPDATE`)
    const ending = ada.call(TerminateAllSessionsDocument, { input: { includeCurrent: true } })
    await account.untilWaiting(1)
    const sessions = `SELECT FROM sessions WHERE user_id = '${ada.id}' FOR UPDATE NOWAIT`
    await lockDatabase(app.installation, sessions).then((free) => free.release())
    await account.release()
    expect(await ending).toMatchObject({ terminatedSessions: 2 })
    await expectSignedOut(other)
  })

  test('is for those who are signed in', async () => {
    expect((await app.anonymous.refusal(TerminateAllSessionsDocument)).code).toBe('UNAUTHENTICATED')
  })
})

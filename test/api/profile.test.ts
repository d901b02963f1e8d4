import { describe, expect, test } from 'vitest'
import { startApp } from '../support/app.js'
import { expectType } from '../support/client.js'
import { lockDatabase } from '../support/database-lock.js'
import { eventually } from '../support/eventually.js'
import {
  AuditLogDocument,
  LoginDocument,
  MeDocument,
  TerminateSessionDocument,
  UpdateProfileDocument,
  type UpdateProfileInput,
} from '../support/generated/graphql.js'
import { openSocket, openStream } from '../support/streams.js'
import type { User } from '../support/user.js'

const app = await startApp()

const update = (user: User, input: UpdateProfileInput) => user.execute(UpdateProfileDocument, { input })
const NAMES = { username: 'ada.l', firstName: 'Ada', lastName: 'Lovelace', displayName: 'Countess' }

describe('me', () => {
  test.each([
    ['nobody', {}],
    ['a token that is none', { authorization: 'Bearer nonsense' }],
    ['another scheme', { authorization: 'Basic YWRhOmFkYQ==' }],
    ['an empty header', { authorization: '' }],
  ])('is null for %s', async (_, headers) => {
    const { data, status } = await app.anonymous.with(headers).execute(MeDocument)
    expect(data).toEqual({ me: null })
    expect(status).toBe(200)
  })

  test('tells who is signed in', async () => {
    const ada = await app.newUser(NAMES)
    const me = await ada.call(MeDocument)
    expect(me).toMatchObject({ ...NAMES, id: ada.id, email: ada.email, emailVerified: true, role: 'user' })
    const instant = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/
    for (const name of ['emailVerifiedAt', 'passwordChangedAt', 'lastLoginAt', 'createdAt'] as const) {
      expect(me?.[name]).toMatch(instant)
    }
  })
})

describe('updating the profile', () => {
  test('changes what is given and leaves the rest', async () => {
    const ada = await app.newUser({ firstName: 'Augusta', lastName: 'Byron' })
    const answer = await update(ada, { lastName: 'King', locale: 'fr-CA', timezone: 'America/Toronto' })
    const { user } = expectType(answer.data.updateProfile, 'UpdateProfileSuccess')
    const expected = { firstName: 'Augusta', lastName: 'King', locale: 'fr-CA', timezone: 'America/Toronto' }
    expect(user).toMatchObject(expected)
    expect(await ada.call(MeDocument)).toMatchObject(expected)
    expect(await app.eventsFrom(answer)).toEqual(['PROFILE_UPDATED'])
    const [event] = await app.eventsOf(ada, { types: ['PROFILE_UPDATED'] })
    expect(event).toMatchObject({ success: true, sessionId: ada.sessionId })
    expect(event?.metadata).toEqual({ fields: ['lastName', 'locale', 'timezone'] })
  })

  const EVENTS = `subscription ($after: String, $filter: AuditLogFilter) {
    securityEvents(after: $after, filter: $filter) { node { user { displayName } } }
  }`
  test.each([
    [
      'a WebSocket',
      async (token: string, values: object) => (await openSocket(app.url, { token })).follow(EVENTS, values),
    ],
    ['an event stream', (token: string, values: object) => openStream(app.url, { token }, EVENTS, values)],
  ])('shows in the events that %s tells from then on', async (_, follow) => {
    const [ada, auditor] = [await app.newUser(), await app.auditor()]
    const { edges } = await auditor.call(AuditLogDocument, { scope: 'EVERYONE', first: 1 })
    const filter = { userId: ada.id, types: ['PROFILE_UPDATED'] }
    const { received } = await follow(auditor.accessToken, { after: edges[0]?.cursor, filter })
    for (const [index, displayName] of ['Augusta', 'Countess'].entries()) {
      await update(ada, { displayName })
      await eventually(() => received[index]?.data.securityEvents.node.user).toEqual({ displayName })
    }
  })

  test('with nothing changes nothing, and is no event', async () => {
    const ada = await app.newUser()
    const before = await ada.call(MeDocument)
    const answer = await update(ada, {})
    expect(expectType(answer.data.updateProfile, 'UpdateProfileSuccess').user.id).toBe(ada.id)
    expect(await app.eventsFrom(answer)).toEqual([])
    expect(await ada.call(MeDocument)).toEqual(before)
  })

  test('empties with null, but neither locale nor time zone', async () => {
    const ada = await app.newUser({ ...NAMES, username: 'emptied', locale: 'de', timezone: 'Europe/Berlin' })
    const nothing = { username: null, firstName: null, lastName: null, displayName: null }
    await update(ada, { ...nothing, locale: null, timezone: null })
    const me = await ada.call(MeDocument)
    expect(me).toMatchObject({ username: null, firstName: null, lastName: null })
    expect(me).toMatchObject({ locale: 'de', timezone: 'Europe/Berlin', displayName: ada.email.split('@')[0] })
    await app.newUser({ username: 'emptied' })
  })

  test('shows the display name, else the username, else the start of the address', async () => {
    const ada = await app.newUser({ username: 'charles', displayName: 'The Analyst' })
    const shown = async (input: UpdateProfileInput) => {
      const { user } = expectType((await update(ada, input)).data.updateProfile, 'UpdateProfileSuccess')
      return user.displayName
    }
    expect(ada.authentication.user.displayName).toBe('The Analyst')
    expect(await shown({ displayName: null })).toBe('charles')
    expect(await shown({ username: null })).toBe(ada.email.split('@')[0])
  })

  test('gives a username to sign in with, in place of the earlier one', async () => {
    const ada = await app.newUser({ username: 'before.it' })
    await update(ada, { username: 'After.It' })
    const logIn = (identifier: string) =>
      app.anonymous.call(LoginDocument, { input: { identifier, password: ada.password } })
    expectType(await logIn('after.it'), 'LoginSuccess')
    expectType(await logIn('before.it'), 'InvalidCredentialsError')
  })

  test.each([
    ['grace', 'grace'],
    ['Barbara', 'bARBARA'],
  ])('with the username of somebody else changes nothing: %s, wanted as %s', async (taken, username) => {
    await app.newUser({ username: taken })
    const ada = await app.newUser()
    const before = await ada.state()
    const answer = await update(ada, { username, firstName: 'Other' })
    expect(answer.data.updateProfile).toEqual({
      __typename: 'UsernameTakenError',
      code: 'USERNAME_TAKEN',
      message: 'That username is taken.',
    })
    const { events, ...after } = await ada.state()
    expect({ ...after, events: events.slice(1) }).toEqual(before)
    expect(events[0]).toMatchObject({ type: 'PROFILE_UPDATED', success: false, correlationId: answer.requestId })
  })

  test('lets the owner write the own username in other letters', async () => {
    const ada = await app.newUser({ username: 'katherine' })
    const answer = await update(ada, { username: 'Katherine' })
    expect(expectType(answer.data.updateProfile, 'UpdateProfileSuccess').user.username).toBe('Katherine')
  })

  test.each([
    ['locale', 'not a locale'],
    ['locale', 'x'.repeat(36)],
    ['timezone', 'Europe/Atlantis'],
    ['timezone', '+99:00'],
    ['username', 'ab'],
    ['username', 'with space'],
    ['username', '.begins.with.a.dot'],
    ['username', 'ada@example.com'],
    ['firstName', ''],
    ['lastName', 'x'.repeat(101)],
    ['displayName', 'two\nlines'],
  ])('with a bad %s changes nothing: %j', async (field, value) => {
    const ada = await app.newUser()
    const before = await ada.state()
    const refusal = await ada.refusal(UpdateProfileDocument, { input: { firstName: 'Other', [field]: value } })
    expect(refusal).toMatchObject({ code: 'BAD_USER_INPUT', path: ['updateProfile'] })
    expect(new Set(refusal.extensions.issues?.map(({ path }) => path.join('.')))).toEqual(new Set([`input.${field}`]))
    expect(await ada.state()).toEqual(before)
  })

  test('changes nothing for a session that ends meanwhile', async () => {
    const ada = await app.newUser()
    const other = await ada.logIn()
    const lock = await lockDatabase(app.installation, `SELECT FROM users WHERE id = '${ada.id}' FOR UPDATE`)
    const refusal = other.refusal(UpdateProfileDocument, { input: { firstName: 'Mallory' } })
    await lock.untilWaiting(1)
    await ada.call(TerminateSessionDocument, { input: { sessionId: other.sessionId } })
    await lock.release()
    expect((await refusal).code).toBe('UNAUTHENTICATED')
    expect((await ada.call(MeDocument))?.firstName).not.toBe('Mallory')
  })

  test('is for those who are signed in', async () => {
    const refusal = await app.anonymous.refusal(UpdateProfileDocument, { input: { firstName: 'Eve' } })
    expect(refusal).toMatchObject({ code: 'UNAUTHENTICATED', path: ['updateProfile'] })
  })
})

test('Who is not signed in is told so before any value is looked at', async () => {
  const input = { locale: 'of nowhere', timezone: 'of no place' }
  expect(await app.anonymous.refusal(UpdateProfileDocument, { input })).toMatchObject({ code: 'UNAUTHENTICATED' })
})

import { describe, expect, test } from 'vitest'
import { NEXT_PASSWORD, startApp } from '../support/app.js'
import { DEVICES } from '../support/devices.js'
import { eventually } from '../support/eventually.js'
import {
  AuditLogDocument,
  type AuditLogFilter,
  type AuditLogQueryVariables,
  LoginDocument,
  LogoutDocument,
  SecurityOverviewDocument,
  SessionsDocument,
  UpdateProfileDocument,
} from '../support/generated/graphql.js'
import { openStream } from '../support/streams.js'
import type { User } from '../support/user.js'

const app = await startApp()

async function read(user: User, variables: AuditLogQueryVariables = {}) {
  const { edges, pageInfo } = await user.call(AuditLogDocument, variables)
  return { events: edges.map(({ node }) => node), types: edges.map(({ node }) => node.type), ...pageInfo }
}
const failedLogin = (email: string, headers: Record<string, string> = {}) =>
  app.anonymous.with(headers).execute(LoginDocument, { input: { identifier: email, password: NEXT_PASSWORD } })

const STREAM = `subscription ($after: String, $filter: AuditLogFilter) {
  securityEvents(after: $after, filter: $filter) { node { type } }
}`

/** What registering, verifying and signing in leaves, newest first. */
const BEGINNING = ['SESSION_CREATED', 'LOGIN_SUCCEEDED', 'EMAIL_VERIFIED', 'EMAIL_VERIFICATION_SENT', 'REGISTERED']

describe('the audit log', () => {
  test('tells what has happened to the account, newest first', async () => {
    const ada = await app.newUser()
    expect((await read(ada)).types).toEqual(BEGINNING)
    const headers = { 'user-agent': DEVICES.safariOnIphone, 'x-forwarded-for': '203.0.113.66' }
    const answer = await failedLogin(ada.email, { ...headers, 'x-request-id': 'request-of-this-test' })
    expect(answer.requestId).toBe('request-of-this-test')
    const [newest] = (await read(ada, { first: 1 })).events
    expect(newest).toEqual({
      ...{ __typename: undefined, id: expect.stringMatching(/^[0-9a-f-]{36}$/), type: 'LOGIN_FAILED', success: false },
      ...{ occurredAt: expect.stringMatching(/Z$/), riskLevel: 'MEDIUM', description: 'An attempt to sign in failed.' },
      ...{ userId: ada.id, sessionId: null, ipAddress: '203.0.113.66', userAgent: DEVICES.safariOnIphone },
      ...{ city: null, country: null, correlationId: 'request-of-this-test', metadata: { reason: 'WRONG_PASSWORD' } },
      user: { email: ada.email, displayName: ada.email.split('@')[0] },
    })
  })

  test('has nothing of other accounts', async () => {
    const [ada, eve] = [await app.newUser(), await app.newUser()]
    await failedLogin(ada.email)
    expect((await read(eve)).types).toEqual(BEGINNING)
    expect((await read(eve, { filter: { userId: ada.id } })).types).toEqual([])
    expect((await read(eve, { filter: { sessionId: ada.sessionId } })).types).toEqual([])
  })

  test('is for those who are signed in', async () => {
    expect(await app.anonymous.refusal(AuditLogDocument)).toMatchObject({ code: 'UNAUTHENTICATED', path: ['auditLog'] })
  })

  test('outlives the session that it tells of', async () => {
    const ada = await app.newUser()
    const other = await ada.logIn()
    await other.call(LogoutDocument)
    const { types } = await read(ada, { filter: { sessionId: other.sessionId } })
    expect(types).toEqual(['LOGGED_OUT', 'SESSION_CREATED', 'LOGIN_SUCCEEDED'])
  })
})

describe('the whole log', () => {
  test('is forbidden without audit:read', async () => {
    const ada = await app.newUser()
    const refusal = await ada.refusal(AuditLogDocument, { scope: 'EVERYONE' })
    expect(refusal).toMatchObject({ code: 'FORBIDDEN', path: ['auditLog'] })
    expect((await app.anonymous.refusal(AuditLogDocument, { scope: 'EVERYONE' })).code).toBe('UNAUTHENTICATED')
  })

  test.each(['audit:read', 'admin'])('is open from the moment that an operator grants %s', async (name) => {
    const [ada, chief] = [await app.newUser(), await app.newUser()]
    expect((await chief.refusal(AuditLogDocument, { scope: 'EVERYONE' })).code).toBe('FORBIDDEN')
    await app.operator.grant(chief.email, name)
    const filter = { userId: ada.id }
    expect((await read(chief, { scope: 'EVERYONE', filter })).types).toEqual(BEGINNING)
    expect((await read(chief, { scope: 'MINE', filter })).types).toEqual([])
  })

  test('has what concerns no account', async () => {
    const { requestId } = await failedLogin('nobody@example.com')
    const chief = await app.auditor()
    const { events } = await read(chief, { scope: 'EVERYONE', filter: { types: ['LOGIN_FAILED'] }, first: 100 })
    const event = events.find(({ correlationId }) => correlationId === requestId)
    expect(event).toMatchObject({ userId: null, user: null, metadata: { reason: 'UNKNOWN_ACCOUNT' } })
    expect(JSON.stringify(event)).not.toContain('nobody@example.com')
  })
})

describe('an address with several spellings is one address', () => {
  const SPELLINGS = [
    ['2001:db8::7', ['2001:DB8:0:0::7', '[2001:0db8:0000::0007]:443', '2001:db8:0:0:0:0:0.0.0.7']],
    ['198.51.100.9', ['::ffff:198.51.100.9', '::FFFF:c633:6409', '0:0:0:0:0:ffff:198.51.100.9']],
    ['fe80::1', ['fe80:0::1%eth0', 'FE80::1']],
  ] as const

  test.each(SPELLINGS)('%s', async (ipAddress, spellings) => {
    const ada = await app.newUser()
    for (const address of spellings) await failedLogin(ada.email, { 'x-forwarded-for': address })
    const { events } = await read(ada, { filter: { ipAddress } })
    expect(events.map((event) => event.ipAddress)).toEqual(spellings.map(() => ipAddress))
    for (const spelling of spellings) {
      const filter = { ipAddress: spelling.replace(/^\[(.*)\]:443$/, '$1') }
      expect((await read(ada, { filter })).events).toEqual(events)
    }
  })
})

describe('a filter of the log', async () => {
  const after = (await read(await app.auditor(), { scope: 'EVERYONE', first: 1 })).endCursor
  const ada = await app.newUser()
  await failedLogin(ada.email, { 'x-forwarded-for': '198.51.100.77' })
  await ada.call(UpdateProfileDocument, { input: { firstName: 'Ada' } })
  app.clock.advance('1m')
  const middle = app.clock.now().toISOString()
  app.clock.advance('1m')
  const { sessionId } = await ada.logIn()
  const all = ['SESSION_CREATED', 'LOGIN_SUCCEEDED', 'PROFILE_UPDATED', 'LOGIN_FAILED', ...BEGINNING]

  test.each<[string, AuditLogFilter, string[]]>([
    ['nothing', {}, all],
    ['only nulls', { types: null, minRiskLevel: null, success: null, from: null, to: null, ipAddress: null }, all],
    ['types', { types: ['REGISTERED', 'LOGIN_FAILED'] }, ['LOGIN_FAILED', 'REGISTERED']],
    ['no types at all', { types: [] }, []],
    ['minRiskLevel', { minRiskLevel: 'MEDIUM' }, ['LOGIN_FAILED']],
    ['a minRiskLevel that everything has', { minRiskLevel: 'LOW' }, all],
    ['a minRiskLevel that nothing has', { minRiskLevel: 'CRITICAL' }, []],
    ['success: false', { success: false }, ['LOGIN_FAILED']],
    ['success: true', { success: true }, all.filter((type) => type !== 'LOGIN_FAILED')],
    ['from', { from: middle }, ['SESSION_CREATED', 'LOGIN_SUCCEEDED']],
    ['to', { to: middle }, all.slice(2)],
    ['from and to', { from: middle, to: middle }, []],
    ['sessionId', { sessionId }, ['SESSION_CREATED', 'LOGIN_SUCCEEDED']],
    ['ipAddress', { ipAddress: '198.51.100.77' }, ['LOGIN_FAILED']],
    ['several conditions', { success: true, from: middle, types: ['LOGIN_SUCCEEDED'] }, ['LOGIN_SUCCEEDED']],
    ['conditions that exclude each other', { success: true, types: ['LOGIN_FAILED'] }, []],
    ['an account that there is not', { userId: sessionId }, []],
  ])('by %s leaves what it says, in the live stream too', async (_, conditions, expected) => {
    const chief = await app.auditor()
    const filter = { userId: ada.id, ...conditions }
    const { types } = await read(chief, { scope: 'EVERYONE', filter, first: 100 })
    expect(types).toEqual(expected)
    const { received } = await openStream(app.url, { token: chief.accessToken }, STREAM, { after, filter })
    await eventually(() => received.map(({ data }) => data.securityEvents.node.type)).toEqual([...expected].reverse())
  })
})

describe('the pages of the log', () => {
  test('follow one another in both directions, without gap or repetition', async () => {
    const ada = await app.newUser()
    const first = await read(ada, { first: 2 })
    expect(first).toMatchObject({ types: BEGINNING.slice(0, 2), hasNextPage: true, hasPreviousPage: false })
    const second = await read(ada, { first: 2, after: first.endCursor })
    expect(second).toMatchObject({ types: BEGINNING.slice(2, 4), hasNextPage: true, hasPreviousPage: true })
    const third = await read(ada, { first: 2, after: second.endCursor })
    expect(third).toMatchObject({ types: BEGINNING.slice(4), hasNextPage: false, hasPreviousPage: true })

    const last = await read(ada, { last: 2 })
    expect(last).toMatchObject({ types: BEGINNING.slice(3), hasNextPage: false, hasPreviousPage: true })
    const before = await read(ada, { last: 3, before: last.startCursor })
    expect(before).toMatchObject({ types: BEGINNING.slice(0, 3), hasNextPage: true, hasPreviousPage: false })
  })

  test('begin and end with the cursors that they name, and with none when they are empty', async () => {
    const ada = await app.newUser()
    const { edges, pageInfo } = await ada.call(AuditLogDocument, { first: 3 })
    expect(pageInfo).toMatchObject({ startCursor: edges[0]?.cursor, endCursor: edges[2]?.cursor })
    const empty = await ada.call(AuditLogDocument, { filter: { types: [] } })
    expect(empty).toMatchObject({ edges: [], pageInfo: { hasNextPage: false, startCursor: null, endCursor: null } })
  })

  test('do not move when something new happens', async () => {
    const ada = await app.newUser()
    const first = await read(ada, { first: 2 })
    await failedLogin(ada.email)
    expect((await read(ada, { first: 3, after: first.endCursor })).types).toEqual(BEGINNING.slice(2))
    expect((await read(ada, { last: 5, before: first.startCursor })).types).toEqual(['LOGIN_FAILED'])
  })

  test('have twenty entries by default, and a hundred at most', async () => {
    const ada = await app.newUser()
    for (let number = 1; number <= 25; number += 1) {
      await ada.call(UpdateProfileDocument, { input: { firstName: `Ada ${number}` } })
    }
    expect((await read(ada)).events).toHaveLength(20)
    expect((await read(ada, { first: 100 })).events).toHaveLength(30)
    expect((await ada.refusal(AuditLogDocument, { first: 101 })).code).toBe('BAD_USER_INPUT')
  })

  test('are not found with the cursor of another list, one that was made up, or is written otherwise', async () => {
    const ada = await app.newUser()
    const { endCursor: own } = await read(ada)
    const { pageInfo } = await ada.call(SessionsDocument)
    for (const cursor of [pageInfo.endCursor, 'nonsense', '', '1', 'A'.repeat(22), `${own}=`]) {
      for (const [name, variables] of [
        ['after', { after: cursor }],
        ['before', { last: 1, before: cursor }],
      ] as const) {
        const refusal = await ada.refusal(AuditLogDocument, variables)
        expect(refusal).toMatchObject({ code: 'BAD_USER_INPUT', path: ['auditLog'] })
        expect(refusal.extensions.issues?.map(({ path }) => path)).toEqual([[name]])
      }
    }
  })
})

describe('the security overview', () => {
  test('is forbidden without audit:read', async () => {
    const ada = await app.newUser()
    expect((await ada.refusal(SecurityOverviewDocument)).code).toBe('FORBIDDEN')
    expect((await app.anonymous.refusal(SecurityOverviewDocument)).code).toBe('UNAUTHENTICATED')
  })

  test('counts what happened, hour by hour, and names suspicious addresses', async () => {
    const quiet = await startApp()
    const ada = await quiet.newUser()
    const chief = await quiet.auditor()
    const guess = (identifier: string, address: string) =>
      quiet.anonymous
        .with({ 'x-forwarded-for': address })
        .call(LoginDocument, { input: { identifier, password: NEXT_PASSWORD } })
    for (let time = 1; time <= 9; time += 1) await guess(ada.email, '203.0.113.1')
    for (let time = 1; time <= 5; time += 1) for (const who of [ada.email, chief.email]) await guess(who, '203.0.113.2')
    const { buckets, ...overview } = await chief.call(SecurityOverviewDocument)
    expect(overview).toMatchObject({ bucketMinutes: 60, activeSessions: 2, lockedAccounts: 2 })
    expect(Date.parse(overview.to) - Date.parse(overview.from)).toBe(24 * 3_600_000)
    expect(buckets).toHaveLength(24)
    expect(buckets.at(-1)).toMatchObject({ loginsSucceeded: 2, loginsFailed: 19, lockouts: 2, alerts: 2 })
    expect(buckets.slice(0, -1).every(({ loginsFailed, alerts }) => loginsFailed === 0 && alerts === 0)).toBe(true)
    expect(overview.suspiciousIps).toEqual([
      expect.objectContaining({ ipAddress: '203.0.113.2', failedLogins: 10, distinctAccounts: 2 }),
    ])

    expect((await chief.call(SecurityOverviewDocument, { hours: 1 })).bucketMinutes).toBe(15)
    for (const hours of [0, -1, 100_000]) {
      const refusal = await chief.refusal(SecurityOverviewDocument, { hours })
      const issues = [{ path: ['hours'], message: `Must be at ${hours < 1 ? 'least 1' : 'most 2160'}.` }]
      expect(refusal).toMatchObject({ code: 'BAD_USER_INPUT', extensions: { issues } })
    }
  })
})

import { describe, expect, test } from 'vitest'
import { startApp, type TestApp } from '../support/app.js'
import { expectType } from '../support/client.js'
import { eventually } from '../support/eventually.js'
import { AuditLogDocument, LoginDocument, UpdateProfileDocument } from '../support/generated/graphql.js'
import { type Follower, openSocket, openStream } from '../support/streams.js'
import type { User } from '../support/user.js'

const app = await startApp({ env: { LOCKOUT_THRESHOLD: '1000' } })

const ALERTS = `subscription ($after: String, $minRiskLevel: RiskLevel! = MEDIUM) {
  securityAlerts(after: $after, minRiskLevel: $minRiskLevel) { cursor node { id type userId } }
}`
const EVENTS = `subscription ($after: String, $filter: AuditLogFilter) {
  securityEvents(after: $after, filter: $filter) { cursor node { id type userId user { email } } }
}`

interface Edge {
  cursor: string
  node: { id: string; type: string; userId: string | null; user?: { email: string } }
}

/** Follows an operation as whoever has the token. */
type Follow = (server: TestApp, token: string | undefined, query: string, variables?: object) => Promise<Follower>
const overSocket: Follow = async ({ url }, token, query, variables) =>
  (await openSocket(url, token === undefined ? {} : { token })).follow(query, variables)
const overStream: Follow = ({ url }, token, query, variables) =>
  openStream(url, token === undefined ? {} : { token }, query, variables)
const TRANSPORTS = [
  ['a WebSocket', overSocket],
  ['server-sent events', overStream],
] as const

const edgesOf = ({ received }: Follower): Edge[] =>
  received.map(({ data }) => data?.securityAlerts ?? data?.securityEvents)
const typesOf = (follower: Follower) => edgesOf(follower).map(({ node }) => node.type)

/** An event of MEDIUM risk about the account. */
async function failToLogIn({ email }: User): Promise<void> {
  const input = { identifier: email, password: 'not the password' }
  expectType(await app.anonymous.call(LoginDocument, { input }), 'InvalidCredentialsError')
}
/** An event of LOW risk about the account. */
const updateProfile = (user: User) => user.call(UpdateProfileDocument, { input: { firstName: 'Ada' } })
async function newestCursor(user: User): Promise<string> {
  const { edges } = await user.call(AuditLogDocument, { first: 1 })
  return edges[0]?.cursor ?? expect.fail('There are no events')
}

describe.each(TRANSPORTS)('over %s', (_, follow) => {
  test('an alert comes when it happens', async () => {
    const ada = await app.newUser()
    const follower = await follow(app, ada.accessToken, ALERTS)
    // Nothing says when a subscription begins: so until one comes.
    await eventually(async () => {
      await failToLogIn(ada)
      return typesOf(follower)
    }).toContain('LOGIN_FAILED')
  })

  test('what came after a cursor is told first, and then what happens: in order, with no gap and no duplicate', async () => {
    const ada = await app.newUser()
    const after = await newestCursor(ada)
    for (let missed = 0; missed < 10; missed += 1) await failToLogIn(ada)
    const [follower] = await Promise.all([
      follow(app, ada.accessToken, ALERTS, { after }),
      ...Array.from({ length: 10 }, () => failToLogIn(ada)),
    ])
    for (let later = 0; later < 10; later += 1) await failToLogIn(ada)
    await eventually(() => follower.received.length).toBe(30)
    const { edges } = await ada.call(AuditLogDocument, { first: 100, filter: { types: ['LOGIN_FAILED'] } })
    expect(edgesOf(follower).map(({ cursor, node }) => `${cursor} ${node.id}`)).toEqual(
      edges.map(({ cursor, node }) => `${cursor} ${node.id}`).reverse(),
    )
  })

  test('the cursor of any event leads on from there', async () => {
    const ada = await app.newUser()
    const after = await newestCursor(ada)
    for (let event = 0; event < 5; event += 1) await failToLogIn(ada)
    const first = await follow(app, ada.accessToken, ALERTS, { after })
    await eventually(() => first.received.length).toBe(5)
    const [, , third, fourth, fifth] = edgesOf(first)
    const second = await follow(app, ada.accessToken, ALERTS, { after: third?.cursor })
    await eventually(() => second.received.length).toBe(2)
    expect(edgesOf(second)).toEqual([fourth, fifth])
  })

  test('alerts are of MEDIUM risk and above, or of what was asked for', async () => {
    const ada = await app.newUser()
    const after = await newestCursor(ada)
    const [medium, low, high] = [
      await follow(app, ada.accessToken, ALERTS, { after }),
      await follow(app, ada.accessToken, ALERTS, { after, minRiskLevel: 'LOW' }),
      await follow(app, ada.accessToken, ALERTS, { after, minRiskLevel: 'HIGH' }),
    ]
    await updateProfile(ada)
    await failToLogIn(ada)
    await app.operator.purge()
    await eventually(() => typesOf(low)).toEqual(['PROFILE_UPDATED', 'LOGIN_FAILED'])
    await eventually(() => typesOf(medium)).toEqual(['LOGIN_FAILED'])
    expect(typesOf(high)).toEqual([])
  })

  test('alerts are about oneself only', async () => {
    const [ada, bob] = [await app.newUser(), await app.newUser()]
    const after = await newestCursor(ada)
    const follower = await follow(app, ada.accessToken, ALERTS, { after, minRiskLevel: 'LOW' })
    await failToLogIn(bob)
    await updateProfile(bob)
    await failToLogIn(ada)
    await eventually(() => typesOf(follower)).toEqual(['LOGIN_FAILED'])
    expect(edgesOf(follower).map(({ node }) => node.userId)).toEqual([ada.id])
  })

  test.each([
    'subscription { securityAlerts @skip(if: true) { cursor } }',
    'subscription { ... @include(if: false) { securityAlerts { cursor } } }',
    'subscription { ...F } fragment F on Subscription { ...G @skip(if: true) } fragment G on Subscription { securityAlerts { cursor } }',
  ])('a condition on the only field is refused: %s', async (query) => {
    const { errors } = await (await follow(app, undefined, query)).next()
    expect(errors?.map(({ extensions }) => extensions.code)).toEqual(['BAD_USER_INPUT'])
  })

  test('alerts need a session', async () => {
    const follower = await follow(app, undefined, ALERTS)
    expect((await follower.next()).errors).toMatchObject([{ extensions: { code: 'UNAUTHENTICATED' } }])
    await follower.ended
  })

  test('the whole stream needs the permission to read the log', async () => {
    const ada = await app.newUser()
    const follower = await follow(app, ada.accessToken, EVENTS)
    expect((await follower.next()).errors).toMatchObject([{ extensions: { code: 'FORBIDDEN' } }])
    await follower.ended
    const stranger = await follow(app, undefined, EVENTS)
    expect((await stranger.next()).errors).toMatchObject([{ extensions: { code: 'UNAUTHENTICATED' } }])
  })

  test('the whole stream tells of everybody, or of what its filter lets pass', async () => {
    const [auditor, ada, bob] = [await app.auditor(), await app.newUser(), await app.newUser()]
    const after = await newestCursor(auditor).then(async () => {
      const { edges } = await auditor.call(AuditLogDocument, { scope: 'EVERYONE', first: 1 })
      return edges[0]?.cursor
    })
    const open = (filter?: object) => follow(app, auditor.accessToken, EVENTS, { after, ...(filter && { filter }) })
    const all = await open()
    const ofBob = await open({ userId: bob.id })
    const ofFailures = await open({ types: ['LOGIN_FAILED'], success: false, minRiskLevel: 'MEDIUM' })
    await failToLogIn(ada)
    await updateProfile(bob)
    await failToLogIn(bob)
    await eventually(() => all.received.length).toBe(3)
    expect(edgesOf(all).map(({ node }) => `${node.type} ${node.user?.email}`)).toEqual([
      ...[`LOGIN_FAILED ${ada.email}`, `PROFILE_UPDATED ${bob.email}`, `LOGIN_FAILED ${bob.email}`],
    ])
    await eventually(() => typesOf(ofBob)).toEqual(['PROFILE_UPDATED', 'LOGIN_FAILED'])
    await eventually(() => typesOf(ofFailures)).toEqual(['LOGIN_FAILED', 'LOGIN_FAILED'])
  })

  test.each([['AAAA'], ['not a cursor'], [''], ['99999999999999999999999999']])(
    'a cursor that is not ours is refused: %j',
    async (after) => {
      const ada = await app.newUser()
      const follower = await follow(app, ada.accessToken, ALERTS, { after })
      expect((await follower.next()).errors).toMatchObject([
        { extensions: { code: 'BAD_USER_INPUT', issues: [{ path: ['after'] }] } },
      ])
      await follower.ended
    },
  )
})

describe('server-sent events', () => {
  test('a stream that broke off goes on after the event whose id was the last', async () => {
    const ada = await app.newUser()
    const first = await overStream(app, ada.accessToken, ALERTS)
    for (let event = 0; event < 4; event += 1) await failToLogIn(ada)
    await eventually(() => first.received.length).toBe(4)
    const cursors = edgesOf(first).map(({ cursor }) => cursor)
    const [begin, ...ids] = first.ids
    expect(ids).toEqual(cursors)

    const resume = (id = '', variables = {}) =>
      openStream(app.url, { token: ada.accessToken, headers: { 'last-event-id': id } }, ALERTS, variables)
    // It comes before what the operation says: a browser asks again as it asked at first.
    const second = await resume(cursors[1], { after: cursors[3] })
    await eventually(() => edgesOf(second).map(({ cursor }) => cursor)).toEqual(cursors.slice(2))
    // Even one that broke off before its first event.
    const third = await resume(begin)
    await eventually(() => edgesOf(third).map(({ cursor }) => cursor)).toEqual(cursors)
    // Nor does it tell, by its name, whether anything has happened to others meanwhile.
    const again = await resume(begin)
    await eventually(() => again.ids.length).toBeGreaterThan(0)
    expect(again.ids[0]).not.toBe(begin)
    const none = await resume('', { after: cursors[2] })
    await eventually(() => edgesOf(none).map(({ cursor }) => cursor)).toEqual(cursors.slice(3))
    const fourth = await resume('not a cursor')
    expect((await fourth.next()).errors).toMatchObject([{ extensions: { code: 'BAD_USER_INPUT' } }])
    expect(fourth.response.status).toBe(400)
  })

  test.each(['text/event-stream', '*/*', 'text/*, */*;q=0.1'])(
    'the id depends on no question, nor on %s',
    async (accept) => {
      const ada = await app.newUser()
      const query = 'subscription { securityAlerts { node { type } } }'
      const follower = await openStream(app.url, { token: ada.accessToken, headers: { accept } }, query)
      await failToLogIn(ada)
      expect(await follower.next()).toEqual({ data: { securityAlerts: { node: { type: 'LOGIN_FAILED' } } } })
      expect(follower.ids).toEqual([expect.any(String), await newestCursor(ada)])
    },
  )

  test.each([
    ['text/event-stream', 401],
    ['text/*', 401],
    ['text/event-stream, application/json', 200],
    ['application/json', 200],
    ['application/graphql-response+json', 200],
    ['*/*', 200],
  ])('that are refused to who takes %s are no error of the server: %i', async (accept, status) => {
    const parameters = new URLSearchParams({ query: ALERTS })
    const response = await fetch(`${app.url}/graphql?${parameters}`, { headers: { accept } })
    expect(response.status).toBe(status)
    expect(await response.text()).toContain('"extensions":{"code":"UNAUTHENTICATED"}}]}')
  })

  test('can be asked for with GET', async () => {
    const ada = await app.newUser()
    const after = await newestCursor(ada)
    await failToLogIn(ada)
    const parameters = new URLSearchParams({ query: ALERTS, variables: JSON.stringify({ after }) })
    const ending = new AbortController()
    const response = await fetch(`${app.url}/graphql?${parameters}`, {
      headers: { authorization: `Bearer ${ada.accessToken}`, accept: 'text/event-stream' },
      signal: ending.signal,
    })
    expect(response.status).toBe(200)
    expect(response.headers.get('content-type')).toMatch(/^text\/event-stream/)
    expect(response.headers.get('cache-control')).toBe('no-store')
    let text = ''
    for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
      text += Buffer.from(chunk).toString()
      if (text.includes('LOGIN_FAILED')) break
    }
    expect(text).toMatch(/^event: next$/m)
    ending.abort()
  })
})

import { describe, expect, test } from 'vitest'
import { NEXT_PASSWORD, startApp } from '../support/app.js'
import { expectType } from '../support/client.js'
import { eventually } from '../support/eventually.js'
import {
  ChangePasswordDocument,
  LogoutDocument,
  RefreshDocument,
  TerminateAllSessionsDocument,
  TerminateSessionDocument,
} from '../support/generated/graphql.js'
import { metric } from '../support/metrics.js'
import { openRawSocket, openSocket, openStream } from '../support/streams.js'
import type { User } from '../support/user.js'

const FRONTEND = 'https://app.example.com'
const app = await startApp({ env: { FRONTEND_URL: FRONTEND } })
const ALERTS = 'subscription { securityAlerts { cursor } }'

const subscribers = (url = app.url) => metric(url, 'event_subscribers')

/** Everything that a session holds open: a connection, a subscription on it, and a stream. */
async function openAll({ accessToken: token }: User) {
  const before = await subscribers()
  const socket = await openSocket(app.url, { token })
  const subscription = socket.follow(ALERTS)
  const stream = await openStream(app.url, { token }, ALERTS)
  await eventually(() => subscribers()).toBe(before + 2)
  return { socket, subscription, stream }
}

describe('a session that ends closes its connections and ends its streams', () => {
  test.each<[string, (user: User, other: User) => Promise<unknown>]>([
    ['by its logout', (user) => user.call(LogoutDocument)],
    ['by another session', ({ sessionId }, other) => other.call(TerminateSessionDocument, { input: { sessionId } })],
    ['with all others', (_, other) => other.call(TerminateAllSessionsDocument)],
    ['with all', (user) => user.call(TerminateAllSessionsDocument, { input: { includeCurrent: true } })],
    [
      'by a change of the password',
      (_, other) =>
        other.call(ChangePasswordDocument, { input: { currentPassword: other.password, newPassword: NEXT_PASSWORD } }),
    ],
    ['by the deactivation of the account', ({ email }) => app.operator.deactivate(email)],
  ])('%s', async (_, end) => {
    const ada = await app.newUser()
    const user = await ada.logIn()
    const { socket, stream, subscription } = await openAll(user)
    await end(user, ada)
    expect(await socket.closing).toMatchObject({ code: 4403, reason: 'Forbidden' })
    await Promise.all([stream.ended, subscription.ended])
    await eventually(() => subscribers()).toBe(0)
  })

  test('by the reuse of a refresh token', async () => {
    const ada = await app.newUser()
    const next = await (await ada.refreshed()).refreshed()
    const { socket, stream } = await openAll(next)
    app.clock.advance('31s')
    const result = await app.anonymous.call(RefreshDocument, { input: { refreshToken: ada.refreshToken } })
    expectType(result, 'InvalidRefreshTokenError')
    expect(await socket.closing).toMatchObject({ code: 4403 })
    await stream.ended
  })

  test('by its idleness, which activity elsewhere puts off', async () => {
    const idle = await startApp({ env: { SESSION_IDLE_TIMEOUT: '3s' } })
    const ada = await idle.newUser()
    const socket = await openSocket(idle.url, { token: ada.accessToken })
    const stream = await openStream(idle.url, { token: ada.accessToken }, ALERTS)
    const until = Date.now() + 4_000
    while (Date.now() < until) expect(await socket.ask('{ me { id } }')).toEqual({ data: { me: { id: ada.id } } })
    expect(await socket.closing).toMatchObject({ code: 4403 })
    await stream.ended
  })

  test('and leaves those of other sessions and of other people alone', async () => {
    const [ada, bob] = [await app.newUser(), await app.newUser()]
    const other = await ada.logIn()
    const [socket, foreign] = [
      await openSocket(app.url, { token: other.accessToken }),
      await openSocket(app.url, { token: bob.accessToken }),
    ]
    await ada.call(LogoutDocument)
    expect(await socket.ask('{ me { id } }')).toEqual({ data: { me: { id: ada.id } } })
    expect(await foreign.ask('{ me { id } }')).toEqual({ data: { me: { id: bob.id } } })
  })
})

test.each<[string, (user: User, other: User) => Promise<unknown>]>([
  ['by its logout', (user) => user.call(LogoutDocument)],
  ['by another session', ({ sessionId }, other) => other.call(TerminateSessionDocument, { input: { sessionId } })],
])('A session that ends %s closes its connection also at a process that no message reaches', async (_, end) => {
  const env = { JWT_ISSUER: 'https://auth.example', JWT_AUDIENCE: 'https://auth.example', REDIS_URL: '' }
  const here = await startApp({ env })
  const there = await startApp({ env, beside: here })
  const ada = await here.newUser()
  const user = await ada.logIn()
  const socket = await openSocket(there.url, { token: user.accessToken })
  await end(user, ada)
  expect(await socket.closing).toMatchObject({ code: 4403 })
})

test('Who loses a role, or is given another, follows nothing any more that it had opened', async () => {
  const [eve, bob] = [await app.newUser(), await app.newUser()]
  for (const { email } of [eve, bob]) await app.operator.grant(email, 'admin')
  const open = ({ accessToken: token }: User) =>
    openStream(app.url, { token }, 'subscription { securityEvents { cursor } }')
  const [ofEve, ofBob] = [await open(eve), await open(bob)]
  await app.operator.grant(eve.email, 'user')
  await ofEve.ended
  const received = ofBob.received.length
  await eve.call(LogoutDocument)
  await eventually(() => ofBob.received.length).toBeGreaterThan(received)
})

describe('an access token that expires', () => {
  test('closes its connection with 4401, and ends its streams', async () => {
    const short = await startApp({ env: { ACCESS_TOKEN_LIFETIME: '2s' } })
    const ada = await short.newUser()
    const { accessToken: token } = await ada.logIn()
    const socket = await openSocket(short.url, { token })
    const stream = await openStream(short.url, { token }, ALERTS)
    expect(await socket.closing).toMatchObject({ code: 4401, reason: 'Unauthorized' })
    await stream.ended
    await eventually(() => subscribers(short.url)).toBe(0)
  })
})

describe('a connection', () => {
  test.each([['nonsense'], ['eyJhbGciOiJub25lIn0.e30.']])(
    'with the bad token %s is closed with 4403',
    async (token) => {
      const socket = await openSocket(app.url, { token })
      expect(await socket.closing).toMatchObject({ code: 4403 })
    },
  )

  test('with a token that has only expired is closed with 4401: a refresh helps', async () => {
    const short = await startApp({ env: { ACCESS_TOKEN_LIFETIME: '1s' } })
    const ada = await short.newUser()
    const { accessToken: token } = await ada.logIn()
    short.clock.advance('1m')
    expect(await (await openSocket(short.url, { token })).closing).toMatchObject({ code: 4401 })
    short.clock.advance('8d')
    expect(await (await openSocket(short.url, { token })).closing).toMatchObject({ code: 4403 })
  })

  test('with the token of a session that has ended is closed with 4403', async () => {
    const ada = await app.newUser()
    await ada.call(LogoutDocument)
    const socket = await openSocket(app.url, { token: ada.accessToken })
    expect(await socket.closing).toMatchObject({ code: 4403 })
  })

  test('without a token is nobody, who may ask all the same', async () => {
    const socket = await openSocket(app.url)
    expect(await socket.ask('{ me { id } }')).toEqual({ data: { me: null } })
    expect((await socket.ask('{ sessions { edges { cursor } } }')).errors).toMatchObject([
      { extensions: { code: 'UNAUTHENTICATED' } },
    ])
  })

  test('takes queries and mutations, with the answers that HTTP gives', async () => {
    const ada = await app.newUser()
    const socket = await openSocket(app.url, { token: ada.accessToken })
    const query = '{ me { id currentSession { id isCurrent } } }'
    const { data } = await ada.post(JSON.stringify({ query }))
    expect(await socket.ask(query)).toEqual({ data })
    const failing = '{ you { id } }'
    expect((await socket.ask(failing)).errors).toEqual((await ada.post(JSON.stringify({ query: failing }))).errors)
  })

  test('signs in with the tokens in the answer, as it can set no cookies', async () => {
    const ada = await app.newUser()
    const socket = await openSocket(app.url)
    const login = 'mutation ($input: LoginInput!) { login(input: $input) { __typename } }'
    const input = { identifier: ada.email, password: ada.password }
    expect(await socket.ask(login, { input: { ...input, tokenDelivery: 'BODY' } })).toEqual({
      data: { login: { __typename: 'LoginSuccess' } },
    })
    expect((await socket.ask(login, { input: { ...input, tokenDelivery: 'COOKIE' } })).errors).toMatchObject([
      { extensions: { code: 'BAD_USER_INPUT', issues: [{ path: ['input', 'tokenDelivery'] }] } },
    ])
    expect(await ada.sessions()).toHaveLength(2)
  })

  test.each([
    ['of a page elsewhere', 'https://evil.example', 403],
    ['of a page whose origin only begins like ours', `${FRONTEND}.evil.example`, 403],
    ['of a sandboxed page', 'null', 403],
    ['of a page of ours', FRONTEND, 101],
  ])('%s is answered with %s: %i', async (_, origin, status) => {
    expect((await openRawSocket(app.url, { origin })).status).toBe(status)
  })

  test('to another path is refused', async () => {
    expect((await openRawSocket(`${app.url}/health`)).status).toBe(404)
  })

  test('that does not begin is closed with 4408', async () => {
    const { closing } = await openRawSocket(app.url)
    expect(await closing).toMatchObject({ code: 4408 })
  })

  test('that sends a message over 100 KB is closed with 1009', async () => {
    const { send, closing } = await openRawSocket(app.url)
    send({ type: 'connection_init', payload: { padding: 'x'.repeat(100 * 1024) } })
    expect(await closing).toMatchObject({ code: 1009 })
  })

  test.each([
    ['no message of the protocol', 'hello', 4400],
    ['an operation before it has begun', { id: '1', type: 'subscribe', payload: { query: '{ me { id } }' } }, 4401],
  ])('that sends %s is closed', async (_, message, code) => {
    const { send, closing } = await openRawSocket(app.url)
    send(message)
    expect(await closing).toMatchObject({ code })
  })
})

test('A subscriber that unsubscribes, closes or goes away is forgotten', async () => {
  const ada = await app.newUser()
  const { socket, subscription, stream } = await openAll(ada)
  const count = await subscribers()
  subscription.stop()
  await eventually(() => subscribers()).toBe(count - 1)
  stream.stop()
  await eventually(() => subscribers()).toBe(count - 2)
  socket.follow(ALERTS)
  await eventually(() => subscribers()).toBe(count - 1)
  socket.close()
  await eventually(() => subscribers()).toBe(count - 2)
})

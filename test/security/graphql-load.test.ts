import { describe, expect, test } from 'vitest'
import { NEXT_PASSWORD, startApp } from '../support/app.js'
import { lockDatabase } from '../support/database-lock.js'
import { eventually } from '../support/eventually.js'
import { ChangePasswordDocument, LogoutDocument } from '../support/generated/graphql.js'
import { STALLED, stallLogins } from '../support/stall.js'
import { openRawSocket, openSocket, openStream } from '../support/streams.js'
import type { User } from '../support/user.js'

const ME = '{ me { id } }'
const ALERTS = 'subscription { securityAlerts(minRiskLevel: LOW) { cursor } }'
const tooMany = (limit: number) => [
  { extensions: { code: 'RATE_LIMITED', limit, remaining: 0, retryAfter: 60, resetAt: expect.any(String) } },
]

describe('an operation that takes longer than OPERATION_TIMEOUT', () => {
  test('is answered with SERVICE_UNAVAILABLE, on every transport', async () => {
    const { anonymous, installation, url } = await startApp({ env: { OPERATION_TIMEOUT: '300ms' } })
    const socket = await openSocket(url)
    const body = JSON.stringify({ query: STALLED })
    const letGo = await stallLogins(installation)
    const errors = [{ extensions: { code: 'SERVICE_UNAVAILABLE', retryAfter: 1 } }]
    const answers = await Promise.all([
      anonymous.post(body),
      anonymous.post(body, { accept: 'application/json;q=0.9' }),
    ])
    for (const { status, headers, ...answer } of answers) {
      expect({ status, ...answer }).toMatchObject({ status: 503, errors })
      expect(headers.get('retry-after')).toBe('1')
    }
    expect(await (await openStream(url, {}, STALLED)).next()).toMatchObject({ errors })
    expect(await socket.ask(STALLED)).toMatchObject({ errors })
    await letGo()
    await eventually(async () => (await anonymous.post(body)).data).toMatchObject({
      login: { __typename: expect.anything() },
    })
  })

  test('changes no password whose new tokens nobody would get', async () => {
    const env = { JWT_ISSUER: 'https://auth.example', JWT_AUDIENCE: 'https://auth.example' }
    const app = await startApp({ env })
    const ada = await app.newUser()
    const server = await startApp({ env: { ...env, OPERATION_TIMEOUT: '300ms', MAX_IN_FLIGHT: '1' }, beside: app })
    const browser = server.anonymous.with({
      authorization: `Bearer ${ada.accessToken}`,
      cookie: `portcullis_refresh=${ada.refreshToken}`,
    })
    // It asks first whether the cookie is of this session.
    const lock = await lockDatabase(app.installation, 'LOCK TABLE refresh_tokens IN ACCESS EXCLUSIVE MODE')
    const input = { currentPassword: ada.password, newPassword: NEXT_PASSWORD }
    expect(await browser.refusal(ChangePasswordDocument, { input })).toMatchObject({ code: 'SERVICE_UNAVAILABLE' })
    await lock.release()
    // There is a place only once that has ended.
    await eventually(async () => (await server.anonymous.post('{"query":"{__typename}"}')).status).toBe(200)
    await ada.logIn()
  })
})

describe('subscriptions', () => {
  test('are as many as MAX_SUBSCRIPTIONS_PER_USER for an account, on all transports together', async () => {
    const app = await startApp({ env: { MAX_SUBSCRIPTIONS_PER_USER: '2' } })
    const [ada, bob] = [await app.newUser(), await app.newUser()]
    const socket = await openSocket(app.url, { token: ada.accessToken })
    const elsewhere = { token: (await ada.logIn()).accessToken, headers: { 'x-forwarded-for': '198.51.100.7' } }
    const first = socket.follow(ALERTS)
    const second = await openStream(app.url, elsewhere, ALERTS)
    expect((await socket.follow(ALERTS).next()).errors).toMatchObject(tooMany(2))
    const refused = await openStream(app.url, elsewhere, ALERTS)
    expect((await refused.next()).errors).toMatchObject(tooMany(2))
    expect(refused.response.headers.get('retry-after')).toBe('60')
    const ofBob = (await openSocket(app.url, { token: bob.accessToken })).follow(ALERTS)

    for (const one of [first, second]) {
      one.stop()
      await eventually(async () => {
        const again = socket.follow(ALERTS)
        await socket.ask(ME)
        return again.received.length
      }).toBe(0)
    }
    expect(ofBob.received).toEqual([])
  })

  test('are as many as MAX_SUBSCRIPTIONS_PER_ADDRESS for an address, whoever asks', async () => {
    const app = await startApp({ env: { MAX_SUBSCRIPTIONS_PER_ADDRESS: '1' } })
    const [ada, bob] = [await app.newUser(), await app.newUser()]
    const at = (address: string) => ({ headers: { 'x-forwarded-for': address } })
    const socket = await openSocket(app.url, { token: ada.accessToken, ...at('198.51.100.1') })
    const first = socket.follow(ALERTS)
    await socket.ask(ME)
    const refused = await openStream(app.url, { token: bob.accessToken, ...at('198.51.100.1') }, ALERTS)
    expect((await refused.next()).errors).toMatchObject(tooMany(1))
    const other = await openSocket(app.url, { token: bob.accessToken, ...at('198.51.100.2') })
    const second = other.follow(ALERTS)
    await other.ask(ME)
    socket.close()
    await first.ended
    const next = await openSocket(app.url, { token: bob.accessToken, ...at('198.51.100.1') })
    await eventually(async () => {
      const again = next.follow(ALERTS)
      await next.ask(ME)
      return again.received.length
    }).toBe(0)
    expect(second.received).toEqual([])
  })

  test('give their place back once, though they end and then their response does', async () => {
    const app = await startApp({ env: { MAX_SUBSCRIPTIONS_PER_ADDRESS: '2' } })
    const ada = await app.newUser()
    const other = await ada.logIn()
    const open = ({ accessToken: token }: User) => openStream(app.url, { token }, ALERTS)
    const [, ends] = [await open(ada), await open(other)]
    await other.call(LogoutDocument)
    await ends.ended
    expect((await open(ada)).response.status).toBe(200)
    expect((await (await open(ada)).next()).errors).toMatchObject(tooMany(2))
  })

  test('that are refused anyway do not count', async () => {
    const { url } = await startApp({ env: { MAX_SUBSCRIPTIONS_PER_ADDRESS: '1' } })
    const socket = await openSocket(url)
    for (let time = 0; time < 3; time += 1) {
      expect((await socket.follow(ALERTS).next()).errors).toMatchObject([{ extensions: { code: 'UNAUTHENTICATED' } }])
    }
  })
})

test('Connections are as many as MAX_SOCKETS_PER_ADDRESS for an address', async () => {
  const { url } = await startApp({ env: { MAX_SOCKETS_PER_ADDRESS: '2' } })
  const from = (address: string) => openRawSocket(url, { 'x-forwarded-for': address })
  const first = await from('198.51.100.1')
  expect((await from('198.51.100.1')).status).toBe(101)
  expect((await from('198.51.100.1')).status).toBe(429)
  expect((await from('198.51.100.2')).status).toBe(101)
  first.send('which is no message of the protocol')
  await first.closing
  await eventually(async () => (await from('198.51.100.1')).status).toBe(101)
})

describe('MAX_IN_FLIGHT', () => {
  const body = JSON.stringify({ query: ME })

  test('counts queries that are answered as event streams', async () => {
    const { installation, url, anonymous } = await startApp({ env: { MAX_IN_FLIGHT: '1' } })
    const letGo = await stallLogins(installation)
    const first = openStream(url, {}, STALLED)
    await eventually(async () => (await anonymous.post(body)).status).toBe(503)
    expect((await openStream(url, {}, ME)).response.status).toBe(503)
    await letGo()
    expect(await (await first).next()).toMatchObject({ data: { login: {} } })
    await eventually(async () => (await anonymous.post(body)).status).toBe(200)
  })

  test('does not count subscriptions that have begun', async () => {
    const app = await startApp({ env: { MAX_IN_FLIGHT: '1' } })
    const ada = await app.newUser()
    for (let time = 0; time < 3; time += 1) {
      expect((await openStream(app.url, { token: ada.accessToken }, ALERTS)).response.status).toBe(200)
    }
    expect((await app.anonymous.post(body)).status).toBe(200)
  })
})

/** What a document is answered with by a server, over one transport after the other: the errors of each. */
async function openTransports(env: Record<string, string> = {}) {
  const { anonymous, url } = await startApp({ env })
  const socket = await openSocket(url)
  return async (query: string) => {
    const body = JSON.stringify({ query })
    const answers = [
      await anonymous.post(body),
      await anonymous.post(body, { accept: 'application/json;q=0.9' }),
      await (await openStream(url, {}, query)).next(),
      await socket.ask(query),
    ]
    return answers.map(({ errors = [] }) => errors)
  }
}

// Each is compared with each, before anything says that none of them is there, and though each is spread once only.
test('A document of very many fragments, there or not, is too complex, on every transport', async () => {
  const ask = await openTransports()
  const spreads = (count: number) => Array.from({ length: count }, (_, i) => `...F${i}`).join(' ')
  const chain = (count: number) => {
    const links = Array.from({ length: count - 1 }, (_, i) => `fragment F${i} on User { id ...F${i + 1} }`)
    return `{ me { ...F0 ...F1 } } ${links.join(' ')} fragment F${count - 1} on User { id wrong }`
  }
  for (const [query, code] of [
    [`{ me { ${spreads(60)} } }`, 'BAD_USER_INPUT'],
    [`{ me { ...A } } fragment A on User { id ... { ${spreads(61)} } }`, 'QUERY_TOO_COMPLEX'],
    [chain(60), 'BAD_USER_INPUT'],
    [chain(61), 'QUERY_TOO_COMPLEX'],
  ] as const) {
    for (const [error] of await ask(query)) expect(error).toMatchObject({ extensions: { code } })
  }
})

// Each error about a document says at which line it is, and counts the lines before it for that.
test.each(['\n', '\r', '\r\n'])('A document of very many lines is too complex, on every transport: %j', async (end) => {
  const ask = await openTransports({ MAX_QUERY_TOKENS: '100' })
  for (const [lines, code] of [
    [200, 'BAD_USER_INPUT'],
    [201, 'QUERY_TOO_COMPLEX'],
  ] as const) {
    const query = `{${end.repeat(lines - 1)} wrong }`
    for (const errors of await ask(query)) expect(errors).toMatchObject([{ extensions: { code } }])
  }
})

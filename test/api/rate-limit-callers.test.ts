import { describe, expect, test } from 'vitest'
import { ConfigError, loadConfig } from '../../src/config.js'
import { startApp, type TestApp } from '../support/app.js'
import { openRawSocket, openSocket, openStream } from '../support/streams.js'

/** Two calls of csrfToken an hour from each address, and as many as anybody likes of everything else. */
const TWO_CALLS = { RATE_LIMITS: 'csrfToken=2/1h;*=100000/1m' }
const app = await startApp({ env: TWO_CALLS })

let networks = 0
/** An address that nobody has called from. */
function newAddress(): string {
  networks += 1
  return `203.0.113.${networks}`
}

/** Calls with that X-Forwarded-For, and says whether the limit let it pass. */
async function isAllowed({ anonymous }: TestApp, forwardedFor: string): Promise<boolean> {
  const { errors } = await anonymous
    .with({ 'x-forwarded-for': forwardedFor })
    .post(JSON.stringify({ query: '{ csrfToken }' }))
  return errors.length === 0
}

async function useUp(server: TestApp, forwardedFor: string): Promise<void> {
  expect(await isAllowed(server, forwardedFor)).toBe(true)
  expect(await isAllowed(server, forwardedFor)).toBe(true)
  expect(await isAllowed(server, forwardedFor)).toBe(false)
}

describe('the address that a limit counts by', () => {
  test('is that of the connection, whatever X-Forwarded-For says, without trusted proxies', async () => {
    const direct = await startApp({ env: { ...TWO_CALLS, TRUSTED_PROXIES: '' } })
    expect(await isAllowed(direct, newAddress())).toBe(true)
    expect(await isAllowed(direct, newAddress())).toBe(true)
    expect(await isAllowed(direct, newAddress())).toBe(false)
  })

  test('is what a trusted proxy has added last, not what the client has written before', async () => {
    const address = newAddress()
    await useUp(app, address)
    for (const spoofed of [newAddress(), '127.0.0.1', '10.0.0.1, 192.168.0.1', 'unknown', '']) {
      expect(await isAllowed(app, `${spoofed}, ${address}`)).toBe(false)
    }
    expect(await isAllowed(app, `${address}, ${newAddress()}`)).toBe(true)
  })

  test('is read also after very many other headers: past two hundred nothing else is done', async () => {
    const address = newAddress()
    await useUp(app, address)
    const behind = (count: number) => {
      const filler = Object.fromEntries(Array.from({ length: count }, (_, index) => [`a${index}`, '']))
      return { ...filler, 'x-forwarded-for': address }
    }
    const limited = [{ extensions: { code: 'RATE_LIMITED' } }]
    const query = '{ csrfToken }'
    expect((await app.anonymous.with(behind(180)).post(JSON.stringify({ query }))).errors).toMatchObject(limited)
    expect((await fetch(`${app.url}/graphql?query=${query}`, { headers: behind(1100) })).status).toBe(431)
    expect((await openRawSocket(app.url, behind(1100))).status).toBe(431)
    const socket = await openSocket(app.url, { headers: behind(180) })
    expect((await socket.ask(query)).errors).toMatchObject(limited)
  })

  test('has no port, though some proxies forward one with it', async () => {
    const address = newAddress()
    await useUp(app, `${address}:80`)
    expect(await isAllowed(app, `${newAddress()}:80, ${address}:54321`)).toBe(false)
    expect(await isAllowed(app, address)).toBe(false)
    await useUp(app, '[2001:db8:5:5::1]:80')
    expect(await isAllowed(app, '[2001:db8:5:5::2]')).toBe(false)
    expect(await isAllowed(app, '2001:db8:5:5::3')).toBe(false)
  })

  test('is all of an IPv6 address without brackets, whatever it ends with', async () => {
    for (const network of ['7:6', '7:7', '7:8']) await useUp(app, `2001:db8:${network}:0:0:0:80`)
  })

  test('is found beyond any number of trusted proxies', async () => {
    const env = { ...TWO_CALLS, TRUSTED_PROXIES: '127.0.0.1, 10.0.0.0/8' }
    const behindTwo = await startApp({ env })
    const address = newAddress()
    await useUp(behindTwo, `${address}, 10.1.2.3`)
    expect(await isAllowed(behindTwo, `10.9.9.9, ${address}, 10.3.2.1, 10.1.2.3`)).toBe(false)
    expect(await isAllowed(behindTwo, `${address}:54321, 10.3.2.1:443, 10.1.2.3:443`)).toBe(false)
    expect(await isAllowed(behindTwo, `${address}, 11.0.0.1, 10.1.2.3`)).toBe(true)
  })

  test('is that of the proxy when it passes on what is no address', async () => {
    await useUp(app, 'not-an-address')
    expect(await isAllowed(app, 'something else')).toBe(false)
  })

  test('is the /64 network of an IPv6 address', async () => {
    await useUp(app, '2001:db8:1:2::1')
    expect(await isAllowed(app, '2001:db8:1:2:ffff:ffff:ffff:ffff')).toBe(false)
    expect(await isAllowed(app, '2001:0DB8:0001:0002::7')).toBe(false)
    expect(await isAllowed(app, '2001:db8:1:3::1')).toBe(true)
  })

  test('is what refusals are told by: those of one network in one minute are one event', async () => {
    await useUp(app, '2001:db8:9:9::1')
    for (let host = 2; host < 12; host += 1) expect(await isAllowed(app, `2001:db8:9:9::${host}`)).toBe(false)
    const events = (await app.allEvents()).filter(({ ipAddress }) => ipAddress?.startsWith('2001:db8:9:9:'))
    expect(events.map(({ type }) => type)).toEqual(['RATE_LIMIT_EXCEEDED'])
  })

  test('is the same for an IPv4 address and its IPv6 form', async () => {
    const address = newAddress()
    await useUp(app, address)
    expect(await isAllowed(app, `::ffff:${address}`)).toBe(false)
  })
})

describe('RATE_LIMITS', () => {
  const limitsOf = (RATE_LIMITS: string) => loadConfig({ NODE_ENV: 'test', RATE_LIMITS }).rateLimits

  test('overrides the limits of a field, and leaves the others as they are', () => {
    const limits = limitsOf('login=2/10s,9/2h; sessions=7/1d')
    expect(limits).toMatchObject({
      login: [
        { max: 2, windowMs: 10_000, by: 'address+identifier' },
        { max: 9, windowMs: 7_200_000, by: 'address' },
      ],
      sessions: [{ max: 7, windowMs: 86_400_000, by: 'user' }],
      register: limitsOf('')?.register,
    })
  })

  test('can limit a field that has none of its own, which * does not', async () => {
    expect(limitsOf(' me = 5/1m ')?.me).toEqual([{ max: 5, windowMs: 60_000, by: 'user' }])
    expect(limitsOf('*=5/1m')?.me).toEqual([])
    const { anonymous } = await startApp({ env: { RATE_LIMITS: 'me=1/1h;*=100000/1m' } })
    const ask = () => anonymous.post(JSON.stringify({ query: '{ me { id } }' }))
    expect([(await ask()).status, (await ask()).status]).toEqual([200, 429])
  })

  test('sets all that are not named with *', () => {
    const limits = limitsOf('*=9/1m;refresh=3/1m') ?? {}
    const { refresh, ...others } = limits
    expect(refresh).toEqual([{ max: 3, windowMs: 60_000, by: 'session' }])
    for (const [rule] of Object.values(others).filter(({ length }) => length > 0))
      expect(rule).toMatchObject({ max: 9, windowMs: 60_000 })
    expect(Object.keys(others)).toContain('anonymous')
  })

  test.each([
    ['without a window', 'login=5', 'cannot read "login=5"'],
    ['with a window of no unit', 'login=5/60', 'cannot read "login=5/60"'],
    ['for a field that there is not', 'signIn=5/1m', 'there is no limit named "signIn"'],
  ])('is refused %s', (_, value, problem) => {
    expect(() => limitsOf(value)).toThrow(ConfigError)
    expect(() => limitsOf(value)).toThrow(problem)
  })

  test('can be off: nothing is limited, and no answer speaks of a limit', async () => {
    const { anonymous } = await startApp({
      env: { RATE_LIMITS: 'off', MAX_QUERY_ALIASES: '200', MAX_QUERY_ROOT_FIELDS: '200' },
    })
    const calls = Array.from({ length: 200 }, (_, index) => `c${index}: csrfToken`)
    const answer = await anonymous.post(JSON.stringify({ query: `{ ${calls.join(' ')} }` }))
    expect(answer.errors).toEqual([])
    expect(answer.headers.get('ratelimit-limit')).toBeNull()
  })

  test('limits what its field asks for, and nothing beside it in the same request', async () => {
    const client = app.anonymous.with({ 'x-forwarded-for': newAddress() })
    const { data } = await client.post(JSON.stringify({ query: '{ csrfToken me { id } }' }))
    expect(data).toEqual({ csrfToken: expect.any(String), me: null })
    const { errors } = await client.post(JSON.stringify({ query: '{ a: csrfToken b: csrfToken me { id } }' }))
    expect(errors).toMatchObject([{ path: ['b'], extensions: { code: 'RATE_LIMITED', limit: 2 } }])
  })
})

const FIVE_AND_NINE = ['verifyToken', 'exchangeToken'].map((field) => `${field}(input: { token: "x" }) { __typename }`)
test.each([
  ['first', FIVE_AND_NINE],
  ['last', FIVE_AND_NINE.toReversed()],
])('The headers tell of the scarcest limit of all that a request asks for, be it the %s', async (_, calls) => {
  const { anonymous } = await startApp({ env: { RATE_LIMITS: 'verifyToken=5/1h;exchangeToken=9/1m;*=100000/1m' } })
  const { errors, headers } = await anonymous.post(JSON.stringify({ query: `mutation { ${calls.join(' ')} }` }))
  expect(errors).toEqual([])
  expect(headers.get('ratelimit-limit')).toBe('5')
  expect(headers.get('ratelimit-remaining')).toBe('4')
  expect(Number(headers.get('ratelimit-reset'))).toBeGreaterThan(60)
})

describe('the same limit holds', () => {
  const QUERY = 'mutation { verifyToken(input: { token: "x" }) { __typename } }'
  /** What leads a POST past the lean path. */
  const THROUGH_YOGA = { accept: 'application/graphql-response+json;q=0.9, */*' }
  const REFUSED = { extensions: { code: 'RATE_LIMITED', limit: 3, remaining: 0, retryAfter: expect.any(Number) } }

  test('over JSON, over any other content negotiation and over a WebSocket: all count together', async () => {
    const { anonymous, url } = await startApp({ env: { RATE_LIMITS: 'verifyToken=3/1h;*=100000/1m' } })
    const headers = { 'x-forwarded-for': newAddress() }
    const client = anonymous.with(headers)
    const socket = await openSocket(url, { headers })
    const lean = () => client.post(JSON.stringify({ query: QUERY }))
    const yoga = () => client.post(JSON.stringify({ query: QUERY }), THROUGH_YOGA)

    expect((await lean()).headers.get('ratelimit-remaining')).toBe('2')
    expect((await yoga()).headers.get('ratelimit-remaining')).toBe('1')
    expect(await socket.ask(QUERY)).toEqual({ data: { verifyToken: { __typename: 'InvalidTokenError' } } })

    expect((await socket.ask(QUERY)).errors).toMatchObject([REFUSED])
    for (const answer of [await lean(), await yoga()]) {
      expect(answer).toMatchObject({ status: 429, errors: [REFUSED] })
      expect(answer.headers.get('retry-after')).toBe(`${answer.errors[0]?.extensions.retryAfter}`)
    }
  })

  test('for subscriptions, of which each start counts, over a WebSocket and as a stream of events', async () => {
    const env = { RATE_LIMITS: 'authenticated=3/1h;*=100000/1m' }
    const server = await startApp({ env })
    const { accessToken: token } = await server.newUser()
    const socket = await openSocket(server.url, { token })
    const subscription = 'subscription { securityAlerts { cursor } }'
    const followers = Array.from({ length: 4 }, () => socket.follow(subscription))
    // The others may get an alert first, of the sign-in before.
    const refusals = followers.map(async ({ next }) => (await next()).errors ?? Promise.reject(new Error('An alert')))
    expect(await Promise.any(refusals)).toMatchObject([REFUSED])
    const stream = await openStream(server.url, { token }, subscription)
    expect((await stream.next()).errors).toMatchObject([REFUSED])
    await stream.ended
  })
})

test('What a subscription tells counts for no limit, however much that is', async () => {
  const server = await startApp({ env: { RATE_LIMITS: 'authenticated=3/1h;*=100000/1m', LOCKOUT_THRESHOLD: '100' } })
  const { email: identifier, accessToken: token } = await server.newUser()
  const stream = await openStream(
    server.url,
    { token },
    'subscription { securityAlerts(minRiskLevel: LOW) { cursor } }',
  )
  const guess = `mutation { login(input: { identifier: "${identifier}", password: "x" }) { __typename } }`
  for (let time = 0; time < 6; time += 1) {
    await server.anonymous.post(JSON.stringify({ query: guess }))
    expect(await stream.next()).toMatchObject({ data: { securityAlerts: { cursor: expect.any(String) } } })
  }
})

test('A limit of none closes a field to everybody', async () => {
  const { anonymous } = await startApp({ env: { RATE_LIMITS: '*=100000/1m;checkPassword=0/1h' } })
  const refused = await anonymous.refusal('mutation { checkPassword(input: { password: "x" }) { __typename } }')
  expect(refused).toMatchObject({ code: 'RATE_LIMITED', extensions: { limit: 0, remaining: 0, retryAfter: 3600 } })
})

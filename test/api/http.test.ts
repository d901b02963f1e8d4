import { describe, expect, test } from 'vitest'
import { startApp, type TestApp } from '../support/app.js'
import { startDatabaseProxy } from '../support/database-proxy.js'
import { eventually } from '../support/eventually.js'
import { metric } from '../support/metrics.js'

const FRONTEND = 'https://app.example.com'
const ISSUER = { JWT_ISSUER: 'https://auth.example', JWT_AUDIENCE: 'https://auth.example' }
const app = await startApp({ env: { ...ISSUER, FRONTEND_URL: FRONTEND, CRON_SECRET: 'sixteen-or-more-characters' } })
const get = (path: string, headers: Record<string, string> = {}, { url }: TestApp = app) =>
  fetch(url + path, { headers })
const ME = JSON.stringify({ query: '{ me { id } }' })

const PATHS = ['/', '/graphql?query={me{id}}', '/verify-email', '/reset-password', '/health', '/health/live']
const MORE_PATHS = [
  '/health/ready',
  '/metrics',
  '/.well-known/jwks.json',
  '/schema.graphql',
  '/dev/mailbox',
  '/nowhere',
]
const SECURITY_HEADERS = {
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
}

describe('every answer', () => {
  test.each([...PATHS, ...MORE_PATHS])('of %s carries the security headers and a request id', async (path) => {
    const { headers } = await get(path)
    for (const [name, value] of Object.entries(SECURITY_HEADERS)) expect(headers.get(name)).toBe(value)
    expect(headers.get('content-security-policy')).toMatch(
      /default-src 'none'.*base-uri 'none'.*frame-ancestors 'none'/,
    )
    expect(headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/)
    expect(headers.get('strict-transport-security')).toBeNull()
    expect(headers.get('x-powered-by')).toBeNull()
  })

  test('is stored by nobody, but for the public keys', async () => {
    for (const path of PATHS) expect((await get(path)).headers.get('cache-control')).toBe('no-store')
    expect((await get('/.well-known/jwks.json')).headers.get('cache-control')).toBe('public, max-age=300')
  })

  test('tells browsers to come back over TLS only, in production', async () => {
    const env = { NODE_ENV: 'production', SMTP_URL: 'smtp://127.0.0.1:9', PUBLIC_URL: 'https://auth.example.com' }
    const production = await startApp({ env })
    const { headers } = await get('/health/live', {}, production)
    expect(headers.get('strict-transport-security')).toBe('max-age=63072000; includeSubDomains')
  })

  test.each([['a-sane-request-id'], ['0199:ab.c_D'], ['1'], ['x'.repeat(100)]])(
    'keeps the request id %s',
    async (id) => {
      expect((await get('/health/live', { 'x-request-id': id })).headers.get('x-request-id')).toBe(id)
    },
  )

  test.each([['x'.repeat(101)], ['with space in it'], ['<script>alert</script>']])(
    'has a request id of our own instead of %s',
    async (id) => {
      expect((await get('/health/live', { 'x-request-id': id })).headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/)
    },
  )
})

describe('cross-origin access', () => {
  const preflight = (origin: string) =>
    fetch(`${app.url}/graphql`, {
      method: 'OPTIONS',
      headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'x-csrf-token' },
    })

  test('is given to the origin of the frontend, with credentials', async () => {
    const { headers } = await app.anonymous.post(ME, { origin: FRONTEND })
    expect(headers.get('access-control-allow-origin')).toBe(FRONTEND)
    expect(headers.get('access-control-allow-credentials')).toBe('true')
    expect(headers.get('access-control-expose-headers')).toMatch(/retry-after.*x-request-id/)
    expect(headers.get('vary')).toBe('origin')
  })

  test('is allowed to it in advance for the headers that clients send', async () => {
    const { status, headers } = await preflight(FRONTEND)
    expect(status).toBe(204)
    expect(headers.get('access-control-allow-origin')).toBe(FRONTEND)
    expect(headers.get('access-control-allow-methods')).toBe('GET, POST')
    expect(headers.get('access-control-allow-headers')).toMatch(/authorization, content-type,.* x-csrf-token/)
    expect(headers.get('access-control-max-age')).toBe('600')
  })

  test.each([['https://app.example.com.evil.example'], ['http://app.example.com'], ['https://evil.example'], ['null']])(
    'is given to no other origin: %s',
    async (origin) => {
      for (const { headers } of [await preflight(origin), await app.anonymous.post(ME, { origin })]) {
        expect(headers.get('access-control-allow-origin')).toBeNull()
        expect(headers.get('access-control-allow-credentials')).toBeNull()
        expect(headers.get('access-control-allow-headers')).toBeNull()
      }
    },
  )

  test('is given to the origins of CORS_ALLOWED_ORIGINS, and then to those only', async () => {
    const env = { CORS_ALLOWED_ORIGINS: 'https://one.example, https://two.example:8443', FRONTEND_URL: FRONTEND }
    const { anonymous } = await startApp({ env })
    const allowed = async (origin: string) =>
      (await anonymous.post(ME, { origin })).headers.get('access-control-allow-origin')
    expect(await allowed('https://two.example:8443')).toBe('https://two.example:8443')
    expect(await allowed('https://two.example')).toBeNull()
    expect(await allowed(FRONTEND)).toBeNull()
  })
})

describe('health', () => {
  test('says how every part is', async () => {
    const response = await get('/health')
    expect(response.status).toBe(200)
    expect(await response.json()).toEqual({
      ...{ status: 'healthy', database: 'up', jobs: 'up', mail: 'up' },
      cache: process.env.TEST_REDIS_URL ? 'up' : 'in-process',
      timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/),
    })
  })

  test('for orchestrators: the process lives, and is ready', async () => {
    expect(await (await get('/health/live')).json()).toEqual({ status: 'live' })
    expect(await (await get('/health/ready')).json()).toEqual({ status: 'ready' })
  })

  test('is degraded when mail cannot be sent', async () => {
    const server = await startApp({ env: { SMTP_URL: 'smtp://127.0.0.1:9' } })
    const response = await get('/health', {}, server)
    expect(response.status).toBe(200)
    expect(await response.json()).toMatchObject({ status: 'degraded', database: 'up', mail: 'down' })
  })

  test('is unhealthy without the database, requests are turned away, and all is well when it is back', async () => {
    const proxy = await startDatabaseProxy(app.installation.databaseUrl)
    const server = await startApp({ env: { ...ISSUER, DATABASE_URL: proxy.url }, beside: app })
    const ada = await app.newUser()
    const operation = 'mutation { verifyEmail(input: { token: "x" }) { __typename } }'
    proxy.cut()
    const health = await get('/health', {}, server)
    expect(health.status).toBe(503)
    expect(await health.json()).toMatchObject({ status: 'unhealthy', database: 'down' })
    expect((await get('/health/ready', {}, server)).status).toBe(503)
    expect((await get('/health/live', {}, server)).status).toBe(200)
    const refused = await server.anonymous.refusal(operation)
    expect(refused).toMatchObject({ status: 503, code: 'SERVICE_UNAVAILABLE', extensions: { retryAfter: 2 } })
    expect(refused.headers.get('retry-after')).toBe('2')
    // Not even somebody who is signed in is taken for a stranger.
    const signedIn = server.anonymous.with({ authorization: `Bearer ${ada.accessToken}` })
    expect(await signedIn.post(ME)).toMatchObject({
      status: 503,
      errors: [{ extensions: { code: 'SERVICE_UNAVAILABLE' } }],
    })
    proxy.restore()
    await eventually(async () => (await get('/health', {}, server)).status).toBe(200)
    expect((await server.anonymous.post(JSON.stringify({ query: operation }))).errors).toEqual([])
    // The jobs had noticed, too.
    server.log.problems.length = 0
  })
})

describe('metrics', () => {
  test('are for the machine itself', async () => {
    const response = await get('/metrics')
    expect(response.headers.get('content-type')).toMatch(/^text\/plain/)
    const text = await response.text()
    expect(text).toMatch(/^portcullis_graphql_operations_total\{field="me",code="OK"\} \d+$/m)
    expect(text).toMatch(/^portcullis_http_request_duration_seconds_count\{path="\/graphql",status="200"\} \d+$/m)
    expect((await get('/metrics', { 'x-forwarded-for': '127.0.0.1' })).status).toBe(404)
  })

  test('count root fields in fragments, too', async () => {
    const counted = () => metric(app.url, 'graphql_operations_total{field="csrfToken",code="OK"}')
    const before = await counted()
    await app.anonymous.post(JSON.stringify({ query: '{ ...F } fragment F on Query { ... { csrfToken } }' }))
    expect(await counted()).toBe(before + 1)
  })

  test('are for whoever has METRICS_TOKEN, once there is one', async () => {
    const server = await startApp({ env: { METRICS_TOKEN: 'a-token-for-prometheus' } })
    const authorization = 'Bearer a-token-for-prometheus'
    expect((await get('/metrics', { authorization, 'x-forwarded-for': '203.0.113.7' }, server)).status).toBe(200)
    expect((await get('/metrics', { authorization: `${authorization}s` }, server)).status).toBe(404)
    expect((await get('/metrics', {}, server)).status).toBe(404)
  })
})

describe('POST /maintenance/flush-tokens', () => {
  const flush = (headers: Record<string, string>, { url }: TestApp = app) =>
    fetch(`${url}/maintenance/flush-tokens`, { method: 'POST', headers })

  test('purges what has expired, and says how much', async () => {
    const response = await flush({ 'x-cron-secret': 'sixteen-or-more-characters' })
    expect(response.status).toBe(200)
    const { purged } = (await response.json()) as { purged: Record<string, number> }
    expect(Object.values(purged).every((count) => Number.isInteger(count))).toBe(true)
    expect(Object.keys(purged).length).toBeGreaterThan(0)
  })

  test('is refused with another secret, and with none', async () => {
    expect((await flush({ 'x-cron-secret': 'sixteen-or-more-character' })).status).toBe(401)
    expect((await flush({})).status).toBe(401)
  })

  test('does not exist without CRON_SECRET', async () => {
    const server = await startApp()
    expect((await flush({ 'x-cron-secret': '' }, server)).status).toBe(404)
  })
})

test('The mailbox shows the newest mail first, as a page and as JSON', async () => {
  const { email } = await app.register()
  const later = await app.register()
  await app.mailsTo(later.email)
  const mails = (await (await get('/dev/mailbox', { accept: 'application/json' })).json()) as {
    to: string
    sentAt: string
  }[]
  expect(mails.map(({ sentAt }) => sentAt)).toEqual(
    mails
      .map(({ sentAt }) => sentAt)
      .sort()
      .reverse(),
  )
  expect(mails.map(({ to }) => to)).toEqual(expect.arrayContaining([email, later.email]))
  expect(mails[0]).toEqual(
    Object.fromEntries(['to', 'subject', 'text', 'html', 'sentAt'].map((name) => [name, expect.any(String)])),
  )
  expect((await get('/dev/mailbox')).headers.get('content-type')).toBe('text/html; charset=utf-8')
})

test('An unknown path is 404, and a known one with another method 405', async () => {
  for (const path of ['/nowhere', '/graphql/', '/__proto__', '/constructor', '//health']) {
    expect((await get(path)).status).toBe(404)
  }
  const response = await fetch(`${app.url}/health`, { method: 'DELETE' })
  expect(response.status).toBe(405)
  expect(response.headers.get('allow')).toBe('GET')
  const graphql = await fetch(`${app.url}/graphql`, { method: 'PUT', body: ME })
  expect(graphql.status).toBe(405)
  expect(graphql.headers.get('allow')).toBe('GET, POST')
})

test('HEAD is answered as GET is', async () => {
  expect((await fetch(`${app.url}/health/live`, { method: 'HEAD' })).status).toBe(200)
})

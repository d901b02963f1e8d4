import { request as openRequest } from 'node:http'
import { describe, expect, onTestFinished, test } from 'vitest'
import { startApp } from '../support/app.js'
import { eventually } from '../support/eventually.js'
import { STALLED, stallLogins } from '../support/stall.js'
import { openSocket } from '../support/streams.js'

const ME = '{ me { id } }'
const body = JSON.stringify({ query: ME })
const stalled = JSON.stringify({ query: STALLED })
const BUSY = [{ extensions: { code: 'SERVICE_UNAVAILABLE', retryAfter: 1 } }]
const DONE = { login: { __typename: 'InvalidCredentialsError' } }
const HTML = { accept: 'text/html' }

describe('past MAX_IN_FLIGHT the server', () => {
  test('refuses requests while those under way still wait, answers these, and takes more again', async () => {
    const { installation, anonymous } = await startApp({ env: { MAX_IN_FLIGHT: '2' } })
    const letGo = await stallLogins(installation)
    let answered = 0
    const waiting = [1, 2].map(() => anonymous.post(stalled).finally(() => (answered += 1)))
    await eventually(async () => (await anonymous.post(body)).status).toBe(503)
    const refused = await anonymous.refusal(ME)
    expect(refused).toMatchObject({ status: 503, code: 'SERVICE_UNAVAILABLE', extensions: { retryAfter: 1 } })
    expect(refused.headers.get('retry-after')).toBe('1')
    // Nobody who was let in has got an answer: the refusal waited for none of them.
    expect(answered).toBe(0)
    await letGo()
    for (const { status, data } of await Promise.all(waiting))
      expect({ status, data }).toEqual({ status: 200, data: DONE })
    expect((await anonymous.post(body)).status).toBe(200)
  })

  test('refuses on every path but those that say how it is, each in the form that its reader wants', async () => {
    const app = await startApp({ env: { MAX_IN_FLIGHT: '1', CRON_SECRET: 'a secret for the flush' } })
    const letGo = await stallLogins(app.installation)
    const waiting = app.anonymous.post(stalled)
    await eventually(async () => (await app.anonymous.post(body)).status).toBe(503)
    const ask = (path: string, init: RequestInit = {}) => fetch(`${app.url}${path}`, init)
    const posted = { method: 'POST', headers: { 'x-cron-secret': 'a secret for the flush' } }
    const refused = [
      await ask('/graphql?query={__typename}'),
      await ask('/.well-known/jwks.json'),
      await ask('/dev/mailbox'),
      await ask('/schema.graphql'),
      await ask('/maintenance/flush-tokens', posted),
    ]
    for (const answer of refused) {
      expect([answer.url, answer.status, answer.headers.get('retry-after')]).toEqual([answer.url, 503, '1'])
      expect(await answer.json()).toMatchObject({ errors: BUSY })
    }
    const pages = ['/', '/graphql', '/verify-email?token=x', '/reset-password', '/not-me?token=x']
    const forms = pages
      .slice(2)
      .map((page) => ask(page, { method: 'POST', headers: HTML, body: new URLSearchParams() }))
    for (const answer of [
      ...(await Promise.all(pages.map((page) => ask(page, { headers: HTML })))),
      ...(await Promise.all(forms)),
    ]) {
      expect([answer.url, answer.status, answer.headers.get('retry-after')]).toEqual([answer.url, 503, '1'])
      expect(answer.headers.get('content-type')).toBe('text/html; charset=utf-8')
      expect(await answer.text()).toContain('Try again in a moment.')
    }
    for (const path of ['/health', '/health/live', '/health/ready', '/metrics'])
      expect((await ask(path)).status).toBe(200)
    await letGo()
    expect((await waiting).status).toBe(200)
    expect((await ask('/', { headers: HTML })).status).toBe(200)
  })

  test('lets a page of another origin read why it was refused', async () => {
    const origin = 'https://app.example'
    const app = await startApp({ env: { MAX_IN_FLIGHT: '1', CORS_ALLOWED_ORIGINS: origin } })
    await stallLogins(app.installation)
    void app.anonymous.post(stalled)
    await eventually(async () => (await app.anonymous.post(body)).status).toBe(503)
    const { headers } = await app.anonymous.post(body, { origin })
    expect(headers.get('access-control-allow-origin')).toBe(origin)
  })

  test('counts the operations of WebSockets, and refuses these too', async () => {
    const { installation, anonymous, url } = await startApp({ env: { MAX_IN_FLIGHT: '1' } })
    const letGo = await stallLogins(installation)
    const [first, second] = [await openSocket(url), await openSocket(url)]
    const waiting = first.ask(STALLED)
    await eventually(async () => (await anonymous.post(body)).status).toBe(503)
    expect(await second.ask(ME)).toMatchObject({ errors: BUSY })
    expect(await first.ask(ME)).toMatchObject({ errors: BUSY })
    await letGo()
    expect(await waiting).toEqual({ data: DONE })
    expect(await second.ask(ME)).toEqual({ data: { me: null } })
  })

  test.each([
    '{ you { id } }',
    'query A { me { id } } query B { me { id } }',
    '{',
    'subscription { securityAlerts { cursor } }',
  ])('no longer counts what a WebSocket asked in vain: %s', async (query) => {
    const { anonymous, url } = await startApp({ env: { MAX_IN_FLIGHT: '1', MAX_OPERATIONS_PER_SOCKET: '1' } })
    const socket = await openSocket(url)
    for (let time = 0; time < 3; time += 1) {
      expect((await socket.ask(query)).errors).toMatchObject([
        { extensions: { code: expect.stringMatching(/BAD_USER_INPUT|UNAUTHENTICATED/) } },
      ])
    }
    expect(await socket.ask(ME)).toEqual({ data: { me: null } })
    expect((await anonymous.post(body)).status).toBe(200)
  })

  test('counts nobody who has not sent all of a request: slow clients take no places', async () => {
    const { anonymous, url } = await startApp({ env: { MAX_IN_FLIGHT: '1' } })
    for (const path of ['/graphql', '/graphql', '/verify-email']) {
      const headers = { 'content-type': 'application/json', 'content-length': body.length, expect: '100-continue' }
      const slow = openRequest(`${url}${path}`, { method: 'POST', headers })
      slow.on('error', () => {})
      onTestFinished(() => void slow.destroy())
      // The server has seen the request, and waits for its body.
      await new Promise<void>((resolve) => slow.once('continue', resolve).flushHeaders())
      slow.write(body.slice(0, 5))
    }
    expect((await anonymous.post(body)).status).toBe(200)
  })
})

describe('an operation that was given up', () => {
  test('counts as under way until it has ended, over HTTP and over WebSockets', async () => {
    const env = { MAX_IN_FLIGHT: '2', MAX_OPERATIONS_PER_SOCKET: '1', OPERATION_TIMEOUT: '300ms' }
    const { installation, anonymous, url } = await startApp({ env })
    const letGo = await stallLogins(installation)
    const socket = await openSocket(url)
    const [overHttp, overSocket] = await Promise.all([anonymous.post(stalled), socket.ask(STALLED)])
    expect([overHttp, overSocket]).toMatchObject([{ status: 503, errors: BUSY }, { errors: BUSY }])
    // Both were answered. That they still work shows in what is refused.
    expect((await anonymous.post(body)).status).toBe(503)
    expect(await (await openSocket(url)).ask(ME)).toMatchObject({ errors: BUSY })
    await letGo()
    await eventually(async () => (await anonymous.post(body)).status).toBe(200)
    await eventually(() => socket.ask(ME)).toEqual({ data: { me: null } })
  })

  test('begins no further field', async () => {
    const app = await startApp()
    const ada = await app.newUser()
    const { anonymous } = await startApp({ env: { MAX_IN_FLIGHT: '1', OPERATION_TIMEOUT: '300ms' }, beside: app })
    const letGo = await stallLogins(app.installation)
    const reset = `requestPasswordReset(input: { email: "${ada.email}" }) { __typename }`
    const query = STALLED.replace(/ }$/, ` ${reset} }`)
    expect(await anonymous.post(JSON.stringify({ query }))).toMatchObject({ status: 503, errors: BUSY })
    await letGo()
    // It has ended when the next one is let in.
    await eventually(async () => (await anonymous.post(body)).status).toBe(200)
    expect((await app.mailsTo(ada.email)).map(({ subject }) => subject)).toEqual(['Verify your e-mail address'])
    await app.anonymous.post(JSON.stringify({ query: `mutation { ${reset} }` }))
    expect((await app.mailsTo(ada.email)).map(({ subject }) => subject)).toContain('Reset your password')
  })
})

describe('MAX_OPERATIONS_PER_SOCKET', () => {
  test('bounds what one connection has under way; each operation above it is told so', async () => {
    const { installation, url } = await startApp({ env: { MAX_OPERATIONS_PER_SOCKET: '2', MAX_IN_FLIGHT: '3' } })
    const letGo = await stallLogins(installation)
    const [one, other] = [await openSocket(url), await openSocket(url)]
    const waiting = [one.ask(STALLED), one.ask(STALLED)]
    // What is refused leaves the last place of the server to others.
    const above = await Promise.all([
      one.ask(ME),
      one.ask(STALLED),
      one.ask('subscription { securityAlerts { cursor } }'),
    ])
    const extensions = { code: 'RATE_LIMITED', retryAfter: 1, limit: 2, remaining: 0, resetAt: expect.any(String) }
    for (const { errors } of above) expect(errors).toMatchObject([{ extensions }])
    expect(await other.ask(ME)).toEqual({ data: { me: null } })
    await letGo()
    expect(await Promise.all(waiting)).toEqual([{ data: DONE }, { data: DONE }])
    expect(await one.ask(ME)).toEqual({ data: { me: null } })
  })

  test('does not count subscriptions that have begun', async () => {
    const app = await startApp({ env: { MAX_OPERATIONS_PER_SOCKET: '1', MAX_IN_FLIGHT: '1' } })
    const ada = await app.newUser()
    const socket = await openSocket(app.url, { token: ada.accessToken })
    for (let time = 0; time < 3; time += 1) {
      const alerts = socket.follow('subscription { securityAlerts { cursor } }')
      await eventually(() => socket.ask(ME)).toEqual({ data: { me: { id: ada.id } } })
      expect(alerts.received).toEqual([])
    }
  })
})

import { describe, expect, test } from 'vitest'
import { startApp, type TestApp } from '../support/app.js'
import { RefreshDocument } from '../support/generated/graphql.js'
import { openSocket } from '../support/streams.js'

/** The lines of the log that warn, with what they say of it. */
const warnings = ({ log }: TestApp) =>
  log.lines.map((line) => JSON.parse(line) as Record<string, unknown>).filter(({ level }) => level === 'warn')

describe('a proxy that TRUSTED_PROXIES does not name', () => {
  const aboutProxies = (app: TestApp) => warnings(app).filter(({ msg }) => String(msg).includes('TRUSTED_PROXIES'))
  const call = ({ anonymous }: TestApp, headers: Record<string, string>) =>
    anonymous.with(headers).post('{"query":"{ csrfToken }"}')

  test('is warned of once, when it first forwards an address', async () => {
    const app = await startApp({ env: { TRUSTED_PROXIES: '10.0.0.0/8' } })
    await call(app, {})
    expect(aboutProxies(app)).toEqual([])
    for (const address of ['203.0.113.1', '203.0.113.2']) await call(app, { 'x-forwarded-for': address })
    expect(aboutProxies(app)).toMatchObject([{ peer: '127.0.0.1', msg: expect.stringMatching(/count as one address/) }])
  })

  test('is warned of at the start, where PUBLIC_URL tells that there is one', async () => {
    const env = { PUBLIC_URL: 'https://auth.example.com', TRUSTED_PROXIES: '' }
    expect(aboutProxies(await startApp({ env }))).toHaveLength(1)
  })

  test.each([
    ['it is named', { PUBLIC_URL: 'https://auth.example.com' }],
    ['there is none', { TRUSTED_PROXIES: '' }],
  ])('is not warned of where %s', async (_, env) => {
    const app = await startApp({ env })
    await call(app, 'PUBLIC_URL' in env ? { 'x-forwarded-for': '203.0.113.1' } : {})
    expect(aboutProxies(app)).toEqual([])
  })
})

test('A trusted proxy that forwards what is no address is warned of once', async () => {
  const app = await startApp()
  const warned = () => warnings(app).filter(({ msg }) => String(msg).includes('what is no address'))
  const call = (forwarded: string) =>
    app.anonymous.with({ 'x-forwarded-for': forwarded }).post('{"query":"{ csrfToken }"}')
  for (const good of ['203.0.113.1', '203.0.113.1:80', '[2001:db8::1]:80', 'unknown, 203.0.113.1']) await call(good)
  expect(warned()).toEqual([])
  for (const bad of ['unknown', '_hidden']) await call(bad)
  expect(warned()).toMatchObject([
    { peer: '127.0.0.1', claimed: 'unknown', msg: expect.stringMatching(/counts as the/) },
  ])
})

describe('what nobody meets by using the product is logged, with its address and request id:', async () => {
  const app = await startApp()
  const headers = { 'x-forwarded-for': '203.0.113.77' }
  const refusals = () => warnings(app).filter(({ msg }) => msg === 'A request was refused')

  test('a permission that is missing, over HTTP and over a WebSocket', async () => {
    const ada = await app.newUser()
    const query = '{ securityOverview { activeSessions } }'
    const { requestId } = await ada.with(headers).refusal(query)
    const socket = await openSocket(app.url, { headers, token: ada.accessToken })
    await socket.ask(query)
    const [first, second] = refusals().slice(-2)
    const expected = { code: 'FORBIDDEN', path: ['securityOverview'], ipAddress: '203.0.113.77' }
    expect(first).toMatchObject({ ...expected, correlationId: requestId })
    expect(second).toMatchObject({ ...expected, correlationId: expect.stringMatching(/./) })
  })

  test('a CSRF proof that is missing', async () => {
    const ada = await app.newUser()
    const browser = await ada.openBrowser()
    const { requestId } = await browser.with(headers).refusal(RefreshDocument)
    expect(refusals().at(-1)).toMatchObject({
      ...{ code: 'CSRF_FAILED', path: ['refresh'], ipAddress: '203.0.113.77', correlationId: requestId },
    })
  })

  test('and nothing of who is merely not signed in', async () => {
    const before = refusals().length
    expect((await app.anonymous.refusal('{ sessions(first: 1) { edges { cursor } } }')).code).toBe('UNAUTHENTICATED')
    expect(refusals()).toHaveLength(before)
  })
})

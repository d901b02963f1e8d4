import { describe, expect, onTestFinished, test } from 'vitest'
import { NEXT_PASSWORD, startApp } from '../support/app.js'
import { expectType } from '../support/client.js'
import {
  type AuthenticationFieldsFragment,
  ChangePasswordDocument,
  ExchangeTokenDocument,
  LoginDocument,
  LogoutDocument,
  MeDocument,
  RefreshDocument,
  SessionsDocument,
  VerifyEmailDocument,
} from '../support/generated/graphql.js'
import { proofOf, SUBJECTS } from '../support/mailbox.js'
import { openSocket } from '../support/streams.js'

const PAGE = 'https://app.example.com'
const EVIL = 'https://evil.example'
const app = await startApp({ env: { ACCESS_TOKEN_COOKIE: 'true', FRONTEND_URL: PAGE } })
const NAME = 'portcullis_access'

async function exchangeToken(): Promise<string> {
  const { email } = await app.register()
  const { code } = proofOf(await app.mail(email, SUBJECTS.verification))
  const result = await app.anonymous.call(VerifyEmailDocument, { input: { email, code } })
  return expectType(result, 'VerifyEmailSuccess').exchangeToken
}

describe('with ACCESS_TOKEN_COOKIE', () => {
  /** No token stands in the body; the cookies that come with it sign their session in. */
  async function expectInCookiesOnly(
    browser: ReturnType<typeof app.browser>,
    { data, authentication }: { data: unknown; authentication: AuthenticationFieldsFragment },
  ) {
    expect(authentication).toMatchObject({ accessToken: '', refreshToken: null })
    expect(authentication.expiresIn).toBeGreaterThan(0)
    const set = new Map(browser.lastSetCookies().map((cookie) => [cookie.name, cookie]))
    for (const name of [NAME, 'portcullis_refresh']) {
      expect(set.get(name)?.attributes).toMatchObject({ httponly: true, samesite: 'Lax', path: '/' })
      expect(JSON.stringify(data)).not.toContain(set.get(name)?.value)
    }
    expect((await browser.call(MeDocument))?.id).toBe(authentication.user.id)
  }

  test('no body has a token of a browser: not of a login, a refresh or a change of the password', async () => {
    const ada = await app.newUser()
    const browser = app.browser({ origin: PAGE })
    const credentials = { identifier: ada.email, password: ada.password }
    const login = await browser.execute(LoginDocument, { input: credentials })
    await expectInCookiesOnly(browser, { ...login, ...expectType(login.data.login, 'LoginSuccess') })
    const refresh = await browser.execute(RefreshDocument)
    await expectInCookiesOnly(browser, { ...refresh, ...expectType(refresh.data.refresh, 'RefreshSuccess') })
    const input = { currentPassword: ada.password, newPassword: NEXT_PASSWORD }
    const change = await browser.execute(ChangePasswordDocument, { input })
    const changed = expectType(change.data.changePassword, 'ChangePasswordSuccess')
    await expectInCookiesOnly(browser, { ...change, ...changed })
  })

  test('nor has that of an exchange', async () => {
    const browser = app.browser({ origin: PAGE })
    const answer = await browser.execute(ExchangeTokenDocument, { input: { token: await exchangeToken() } })
    await expectInCookiesOnly(browser, {
      ...answer,
      ...expectType(answer.data.exchangeToken, 'ExchangeTokenSuccess'),
    })
  })

  test('a change of the password that the access cookie alone authenticates gives cookies', async () => {
    const ada = await app.newUser()
    const browser = await ada.openBrowser()
    const cookie = `${NAME}=${browser.cookies.get(NAME)?.value}`
    const input = { currentPassword: ada.password, newPassword: NEXT_PASSWORD }
    const page = app.anonymous.with({ cookie, origin: PAGE })
    const answer = await page.execute(ChangePasswordDocument, { input })
    const { authentication } = expectType(answer.data.changePassword, 'ChangePasswordSuccess')
    expect(authentication).toMatchObject({ accessToken: '', refreshToken: null })
    expect(answer.headers.getSetCookie().join()).toMatch(/portcullis_refresh=.*portcullis_access=/)
  })

  test('a body holds both tokens where it was asked for, and then no cookie does', async () => {
    const ada = await app.newUser()
    const browser = app.browser()
    const input = { identifier: ada.email, password: ada.password, tokenDelivery: 'BODY' } as const
    const { authentication } = expectType(await browser.call(LoginDocument, { input }), 'LoginSuccess')
    expect(authentication.accessToken).toMatch(/^ey/)
    expect(browser.lastSetCookies().map(({ name }) => name)).toEqual(['portcullis_device'])
    const renewed = await browser.call(RefreshDocument, { input: { refreshToken: authentication.refreshToken } })
    expect(expectType(renewed, 'RefreshSuccess').authentication).toMatchObject({
      accessToken: expect.stringMatching(/^ey/),
      refreshToken: expect.stringMatching(/./),
    })
    expect(browser.lastSetCookies()).toEqual([])
    const answer = await browser.call(ExchangeTokenDocument, {
      input: { token: await exchangeToken(), tokenDelivery: 'BODY' },
    })
    expect(expectType(answer, 'ExchangeTokenSuccess').authentication.accessToken).toMatch(/^ey/)
    expect(browser.lastSetCookies()).toEqual([])
  })

  test('signing out by the access cookie alone needs the proof, and ends its session', async () => {
    const ada = await app.newUser()
    const browser = await ada.openBrowser()
    const cookie = `${NAME}=${browser.cookies.get(NAME)?.value}`
    const page = app.anonymous.with({ cookie })
    expect(await page.refusal(LogoutDocument)).toMatchObject({ code: 'CSRF_FAILED', status: 403 })
    expect(await ada.sessions()).toHaveLength(2)
    const answer = await page.with({ origin: PAGE }).execute(LogoutDocument)
    expectType(answer.data.logout, 'LogoutSuccess')
    expect(answer.headers.get('clear-site-data')).toBe('"cache", "storage"')
    expect(await ada.sessions()).toHaveLength(1)
  })

  test.each([
    ['an origin that we do not know', { origin: EVIL }],
    ['an image or a link of another site', { 'sec-fetch-site': 'cross-site' }],
    ['an image or a link of another host of the site', { 'sec-fetch-site': 'same-site' }],
  ])('the cookie signs nothing in that comes from %s: it uses up no limit of the user', async (_, headers) => {
    const ada = await app.newUser()
    const browser = await ada.openBrowser()
    expect(await browser.with(headers).call(MeDocument)).toBeNull()
    expect((await browser.with(headers).refusal(SessionsDocument)).code).toBe('CSRF_FAILED')
    const page = await browser.withCsrfToken()
    expect((await page.with(headers).refusal(LogoutDocument)).code).toBe('CSRF_FAILED')
    expect(await ada.sessions()).toHaveLength(2)
  })
})

describe('live events in a page that holds no token', () => {
  const ALERTS = 'subscription { securityAlerts(minRiskLevel: LOW) { node { type } } }'

  /** What an EventSource with credentials sends. */
  async function openEvents(cookie: string, headers: Record<string, string>, query = ALERTS): Promise<Response> {
    const ending = new AbortController()
    onTestFinished(() => ending.abort())
    const accept = 'text/event-stream'
    return fetch(`${app.url}/graphql?${new URLSearchParams({ query })}`, {
      headers: { accept, cookie, ...headers },
      signal: ending.signal,
    })
  }
  async function cookieOf(browser: ReturnType<typeof app.browser>) {
    return [...browser.cookies.values()].map(({ name, value }) => `${name}=${value}`).join('; ')
  }

  test('come over GET to a page that we know', async () => {
    const ada = await app.newUser()
    const response = await openEvents(await cookieOf(await ada.openBrowser()), { origin: PAGE })
    expect(response.headers.get('content-type')).toMatch(/^text\/event-stream/)
    expect(response.headers.get('access-control-allow-origin')).toBe(PAGE)
    expect(response.headers.get('access-control-allow-credentials')).toBe('true')
    await app.anonymous.call(LoginDocument, { input: { identifier: ada.email, password: NEXT_PASSWORD } })
    let text = ''
    for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
      text += Buffer.from(chunk).toString()
      if (text.includes('LOGIN_FAILED')) break
    }
    expect(text).toMatch(/^event: next$/m)
  })

  test.each([{ origin: EVIL }, { 'sec-fetch-site': 'same-site' }])('come to no other page: %j', async (headers) => {
    const ada = await app.newUser()
    const response = await openEvents(await cookieOf(await ada.openBrowser()), headers)
    expect(response.headers.get('access-control-allow-origin')).toBeNull()
    expect(await response.text()).toContain('CSRF_FAILED')
  })

  test('are all that GET gives: no mutation, whatever cookie and origin come with it', async () => {
    const ada = await app.newUser()
    const cookie = await cookieOf(await ada.openBrowser())
    for (const accept of ['text/event-stream', 'application/json']) {
      const response = await openEvents(cookie, { origin: PAGE, accept }, 'mutation { logout { __typename } }')
      expect(response.status).toBe(405)
      await response.body?.cancel()
    }
    expect(await ada.sessions()).toHaveLength(2)
  })

  test('do not come over a WebSocket: its handshake carries cookies, and they sign nobody in', async () => {
    const ada = await app.newUser()
    const cookie = await cookieOf(await ada.openBrowser())
    const socket = await openSocket(app.url, { headers: { cookie, origin: PAGE } })
    expect(await socket.ask('{ me { id } }')).toEqual({ data: { me: null } })
    expect((await socket.ask('mutation { logout { __typename } }')).errors).toBeUndefined()
    expect(await ada.sessions()).toHaveLength(2)
  })
})

import { describe, expect, test } from 'vitest'
import { startApp } from '../support/app.js'
import { expectType } from '../support/client.js'
import {
  ExchangeTokenDocument,
  LoginDocument,
  LogoutDocument,
  MeDocument,
  RefreshDocument,
} from '../support/generated/graphql.js'
import type { User } from '../support/user.js'

const FRONTEND = 'https://app.example.com'
const READER = 'https://reader.example.com'
const env = { FRONTEND_URL: FRONTEND, CSRF_TRUSTED_ORIGINS: FRONTEND, CORS_ALLOWED_ORIGINS: `${FRONTEND},${READER}` }
const app = await startApp({ env })
const COOKIE = 'portcullis_refresh'

const credentials = ({ email, password }: User) => ({ identifier: email, password })
const open = async (user: User) => (await user.sessions()).length

describe('signing a browser in', () => {
  const from = (headers: Record<string, string>, cookie?: string) =>
    app.anonymous.with({ ...headers, ...(cookie && { cookie }) })

  test.each([
    ['another origin', { origin: 'https://evil.example' }],
    ['no origin that a page has', { origin: 'null' }],
    ['an origin that may only read answers', { origin: READER }],
    ['a page of another site that hides its origin', { 'sec-fetch-site': 'cross-site' }],
    ['a page of another host of the site', { 'sec-fetch-site': 'same-site' }],
  ])('is refused to %s, before the password is looked at', async (_, headers) => {
    const ada = await app.newUser()
    const input = credentials(ada)
    const refused = await from(headers).refusal(LoginDocument, { input })
    expect(refused).toMatchObject({ code: 'CSRF_FAILED', status: 403 })
    expect(refused.headers.getSetCookie()).toEqual([])
    const exchange = await from(headers).refusal(ExchangeTokenDocument, { input: { token: 'x'.repeat(43) } })
    expect(exchange).toMatchObject({ code: 'CSRF_FAILED', status: 403 })
    expect(await open(ada)).toBe(1)
    // What sets no cookie can sign no browser in.
    expectType(await from(headers).call(LoginDocument, { input: { ...input, tokenDelivery: 'BODY' } }), 'LoginSuccess')
  })

  test.each([
    ['a page that we trust', { origin: FRONTEND, 'sec-fetch-site': 'cross-site' }],
    ['a page of the server itself', { origin: 'https://proxied.example', 'sec-fetch-site': 'same-origin' }],
    ['what is no browser', {}],
  ])('is allowed to %s', async (_, headers) => {
    const ada = await app.newUser()
    expectType(await from(headers).call(LoginDocument, { input: credentials(ada) }), 'LoginSuccess')
  })

  test('is allowed with the CSRF token to an origin that may read answers, and to no other', async () => {
    const ada = await app.newUser()
    const browser = app.browser()
    const page = await browser.withCsrfToken()
    const refused = await page
      .with({ origin: 'https://evil.example' })
      .refusal(LoginDocument, { input: credentials(ada) })
    expect(refused.code).toBe('CSRF_FAILED')
    expectType(await page.with({ origin: READER }).call(LoginDocument, { input: credentials(ada) }), 'LoginSuccess')
  })
})

test('A media type is one in whatever case (RFC 9110 section 8.3.1), as proof of a page too', async () => {
  const browser = await (await app.newUser()).openBrowser()
  const headers = { origin: FRONTEND, 'content-type': 'Application/JSON; Charset=UTF-8' }
  expectType(await browser.with(headers).call(RefreshDocument), 'RefreshSuccess')
})

describe('a form of the pages that mails lead to, with its token', () => {
  /** The status of the form that a page with those headers sends. */
  async function sendForm(headers: Record<string, string>): Promise<number> {
    const page = await fetch(`${app.url}/verify-email`)
    const [cookie = ''] = page.headers.getSetCookie()
    const [, csrf = ''] = /name="csrf" value="([^"]+)"/.exec(await page.text()) ?? []
    const body = new URLSearchParams({ csrf, email: 'nobody@example.com', code: '000000' })
    const sent = { cookie: cookie.split(';', 1)[0] ?? '', ...headers }
    return (await fetch(`${app.url}/verify-email`, { method: 'POST', headers: sent, body })).status
  }

  // 400: it was looked at, and the code is wrong.
  test.each([
    ['sent by our page, which hides its origin,', { origin: 'null', 'sec-fetch-site': 'same-origin' }, 400],
    ['sent over plain http, where browsers say no more,', { origin: 'null' }, 400],
    ['sent by what is no browser', {}, 400],
    ['planted by another host of the site', { origin: 'null', 'sec-fetch-site': 'same-site' }, 403],
    ['planted by another site', { origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' }, 403],
    ['planted over plain http', { origin: 'http://evil.example' }, 403],
  ])('%s gets its answer: %j', async (_, headers, status) => {
    expect(await sendForm(headers)).toBe(status)
  })
})

describe('signing out with a bearer token and the cookie of another session', () => {
  test('ends both: the browser is signed out', async () => {
    const ada = await app.newUser()
    const other = await ada.logIn()
    const page = await (await ada.openBrowser()).withCsrfToken()
    const answer = await page.with({ authorization: `Bearer ${other.accessToken}` }).execute(LogoutDocument)
    expectType(answer.data.logout, 'LogoutSuccess')
    expect(await app.eventsFrom(answer)).toEqual(['LOGGED_OUT', 'LOGGED_OUT'])
    expect(await open(ada)).toBe(1)
  })

  test('ends both also when they are of two accounts', async () => {
    const [ada, bob] = [await app.newUser(), await app.newUser()]
    const page = await (await ada.openBrowser()).withCsrfToken()
    const session = await bob.logIn()
    await page.with({ authorization: `Bearer ${session.accessToken}` }).call(LogoutDocument)
    expect([await open(ada), await open(bob)]).toEqual([1, 1])
  })

  test('ends neither without the CSRF proof', async () => {
    const ada = await app.newUser()
    const other = await ada.logIn()
    const browser = await ada.openBrowser()
    const both = browser.with({ authorization: `Bearer ${other.accessToken}` })
    expect((await both.refusal(LogoutDocument)).code).toBe('CSRF_FAILED')
    expect(await open(ada)).toBe(3)
  })

  test('succeeds with a cookie that holds no token', async () => {
    const ada = await app.newUser()
    const rubbish = ada.with({ cookie: `${COOKIE}=rubbish`, origin: FRONTEND })
    expectType(await rubbish.call(LogoutDocument), 'LogoutSuccess')
    expect(await ada.call(MeDocument)).toBeNull()
  })
})

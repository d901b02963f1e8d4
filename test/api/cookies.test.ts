import { describe, expect, test } from 'vitest'
import { NEXT_PASSWORD, startApp } from '../support/app.js'
import type { Browser } from '../support/browser.js'
import { expectType } from '../support/client.js'
import {
  ChangePasswordDocument,
  CsrfTokenDocument,
  LoginDocument,
  LogoutDocument,
  MeDocument,
  RefreshDocument,
} from '../support/generated/graphql.js'

const app = await startApp()
const NAME = 'portcullis_refresh'
const refreshCookie = (browser: Browser) => browser.cookies.get(NAME)?.value

describe('signing in for a browser', () => {
  test('puts the refresh token into a cookie that no script reads, and nowhere else', async () => {
    const ada = await app.newUser()
    const browser = app.browser()
    const input = { identifier: ada.email, password: ada.password }
    const { data } = await browser.execute(LoginDocument, { input })
    const { authentication } = expectType(data.login, 'LoginSuccess')
    expect(authentication.refreshToken).toBeNull()
    const [cookie, device, ...others] = browser.lastSetCookies()
    expect(others).toEqual([])
    expect(device?.name).toBe('portcullis_device')
    expect(cookie).toMatchObject({ name: NAME, attributes: { httponly: true, samesite: 'Lax', path: '/' } })
    expect(cookie?.attributes).not.toHaveProperty('domain')
    const wholeSeconds = new Date(authentication.refreshExpiresAt).toUTCString()
    expect(cookie?.attributes.expires).toBe(wholeSeconds)
    expect(JSON.stringify(data)).not.toContain(cookie?.value)
  })

  test('sets no cookie with a token where the body was asked for', async () => {
    const ada = await app.newUser()
    const browser = app.browser()
    const input = { identifier: ada.email, password: ada.password, tokenDelivery: 'BODY' } as const
    expectType(await browser.call(LoginDocument, { input }), 'LoginSuccess')
    expect(browser.lastSetCookies().map(({ name }) => name)).toEqual(['portcullis_device'])
  })

  test('sets no cookie when it fails', async () => {
    const ada = await app.newUser()
    const browser = app.browser()
    await browser.call(LoginDocument, { input: { identifier: ada.email, password: NEXT_PASSWORD } })
    expect(browser.lastSetCookies()).toEqual([])
  })

  test('over https sets __Host- cookies, which only a secure connection carries', async () => {
    const secure = await startApp({ env: { PUBLIC_URL: 'https://auth.example.com', ACCESS_TOKEN_COOKIE: 'true' } })
    const ada = await secure.newUser()
    const browser = await ada.openBrowser()
    const cookies = [...browser.lastSetCookies()]
    await browser.call(CsrfTokenDocument)
    cookies.push(...browser.lastSetCookies())
    expect(cookies.map(({ name }) => name)).toEqual(
      ['refresh', 'access', 'device', 'csrf'].map((name) => `__Host-portcullis_${name}`),
    )
    for (const { attributes } of cookies) {
      expect(attributes).toMatchObject({ httponly: true, secure: true, samesite: 'Lax', path: '/' })
      expect(attributes).not.toHaveProperty('domain')
    }
  })
})

describe('refreshing with the cookie', () => {
  test('needs proof that a page of ours asks: without it nothing changes', async () => {
    const ada = await app.newUser()
    const browser = await ada.openBrowser()
    const before = refreshCookie(browser)
    const refusal = await browser.refusal(RefreshDocument)
    expect(refusal).toMatchObject({ code: 'CSRF_FAILED', status: 403, path: ['refresh'] })
    expect(browser.lastSetCookies()).toEqual([])
    expect(await app.eventsOf(ada, { types: ['TOKEN_REFRESHED'] })).toEqual([])
    const page = await browser.withCsrfToken()
    expect(expectType(await page.call(RefreshDocument), 'RefreshSuccess').outcome).toBe('ROTATED')
    expect(refreshCookie(browser)).not.toBe(before)
  })

  test('with the token of csrfToken replaces the cookie, and says the new one in no body', async () => {
    const browser = await (await app.newUser()).openBrowser()
    const page = await browser.withCsrfToken()
    const { data } = await page.execute(RefreshDocument)
    const { authentication } = expectType(data.refresh, 'RefreshSuccess')
    expect(authentication.refreshToken).toBeNull()
    expect(JSON.stringify(data)).not.toContain(refreshCookie(browser))
    expect(browser.lastSetCookies()[0]).toMatchObject({ name: NAME, attributes: { httponly: true, samesite: 'Lax' } })
    expectType(await page.call(RefreshDocument), 'RefreshSuccess')
  })

  test('from an origin that we trust needs no token', async () => {
    const browser = await (await app.newUser()).openBrowser()
    const page = browser.with({ origin: app.url.replace('127.0.0.1', 'localhost') })
    expectType(await page.call(RefreshDocument), 'RefreshSuccess')
  })

  test.each([
    ['another origin', { origin: 'https://evil.example.com' }],
    ['an origin that only begins like ours', { origin: 'http://localhost:4000.evil.example.com' }],
    ['no origin that a page has', { origin: 'null' }],
    ['a token that was made up', { 'x-csrf-token': 'A'.repeat(43) }],
    ['an empty token', { 'x-csrf-token': '' }],
  ])('is refused to %s', async (_, headers) => {
    const browser = await (await app.newUser()).openBrowser()
    await browser.call(CsrfTokenDocument)
    expect((await browser.with(headers).refusal(RefreshDocument)).code).toBe('CSRF_FAILED')
    expectType(await (await browser.withCsrfToken()).call(RefreshDocument), 'RefreshSuccess')
  })

  test("is refused with somebody else's token", async () => {
    const browser = await (await app.newUser()).openBrowser()
    await browser.call(CsrfTokenDocument)
    const foreign = await app.browser().call(CsrfTokenDocument)
    expect((await browser.with({ 'x-csrf-token': foreign }).refusal(RefreshDocument)).code).toBe('CSRF_FAILED')
  })

  test('without a cookie says that it is missing, and needs no proof', async () => {
    const result = await app.browser().call(RefreshDocument)
    expect(expectType(result, 'InvalidRefreshTokenError').reason).toBe('MISSING')
  })
})

test('csrfToken stays the same for as long as its cookie does', async () => {
  const browser = app.browser()
  const first = await browser.call(CsrfTokenDocument)
  expect(await browser.call(CsrfTokenDocument)).toBe(first)
  expect(await app.browser().call(CsrfTokenDocument)).not.toBe(first)
})

describe('signing out with the cookie', () => {
  test('needs the same proof', async () => {
    const ada = await app.newUser()
    const browser = await ada.openBrowser()
    expect((await browser.refusal(LogoutDocument)).code).toBe('CSRF_FAILED')
    expect(refreshCookie(browser)).toBeDefined()
    expect(await ada.sessions()).toHaveLength(2)
  })

  test('ends the session of the cookie and takes the cookies away, also the second time', async () => {
    const ada = await app.newUser()
    const browser = await ada.openBrowser()
    const page = await browser.withCsrfToken()
    const answer = await page.execute(LogoutDocument)
    expect(answer.data.logout.__typename).toBe('LogoutSuccess')
    expect(answer.headers.get('clear-site-data')).toBe('"cache", "storage"')
    expect(await app.eventsFrom(answer)).toEqual(['LOGGED_OUT'])
    expect([...browser.cookies.keys()]).toEqual(['portcullis_device'])
    expect(await ada.sessions()).toHaveLength(1)
    const again = await browser.execute(LogoutDocument)
    expect(again.data.logout.__typename).toBe('LogoutSuccess')
    expect(await app.eventsFrom(again)).toEqual([])
    expect(again.headers.get('clear-site-data')).toBeNull()
  })

  test('takes the cookie away also when its session has ended before', async () => {
    const ada = await app.newUser()
    const browser = await ada.openBrowser()
    const page = await browser.withCsrfToken()
    await app.operator.deactivate(ada.email)
    expect((await page.call(LogoutDocument)).__typename).toBe('LogoutSuccess')
    expect(refreshCookie(browser)).toBeUndefined()
  })
})

test('changing the password in a browser puts the new refresh token into the cookie', async () => {
  const ada = await app.newUser()
  const browser = await ada.openBrowser()
  const page = await browser.withCsrfToken()
  const { authentication } = expectType(await page.call(RefreshDocument), 'RefreshSuccess')
  const before = refreshCookie(browser)
  const signedIn = page.with({ authorization: `Bearer ${authentication.accessToken}` })
  const input = { currentPassword: ada.password, newPassword: NEXT_PASSWORD }
  const changed = expectType(await signedIn.call(ChangePasswordDocument, { input }), 'ChangePasswordSuccess')
  expect(changed.authentication.refreshToken).toBeNull()
  expect(refreshCookie(browser)).not.toBe(before)
  expectType(await page.call(RefreshDocument), 'RefreshSuccess')
})

test('a program that keeps cookies changes the password by its bearer token: it has no page that could be deceived', async () => {
  const ada = await app.newUser()
  const browser = app.browser()
  const credentials = { identifier: ada.email, password: ada.password }
  const { authentication } = expectType(await browser.call(LoginDocument, { input: credentials }), 'LoginSuccess')
  const input = { currentPassword: ada.password, newPassword: NEXT_PASSWORD }
  const bearer = browser.with({ authorization: `Bearer ${authentication.accessToken}` })
  const hostile = bearer.with({ origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' })
  expect((await hostile.refusal(ChangePasswordDocument, { input })).code).toBe('CSRF_FAILED')
  expectType(await bearer.call(ChangePasswordDocument, { input }), 'ChangePasswordSuccess')
})

test.each(['of nobody', 'of somebody else'])(
  'cookies %s that come along take no tokens from who changes the password by a bearer token',
  async (whose) => {
    const [ada, bob] = [await app.newUser(), await app.newUser()]
    const cookie = `${NAME}=${whose === 'of nobody' ? 'planted' : bob.refreshToken}`
    const page = app.anonymous.with({ authorization: `Bearer ${ada.accessToken}`, cookie })
    const input = { currentPassword: ada.password, newPassword: NEXT_PASSWORD }
    const answer = await page.execute(ChangePasswordDocument, { input })
    const { refreshToken } = expectType(answer.data.changePassword, 'ChangePasswordSuccess').authentication
    expect(answer.headers.getSetCookie().join()).not.toContain(NAME)
    expectType(await app.anonymous.call(RefreshDocument, { input: { refreshToken } }), 'RefreshSuccess')
  },
)

describe('where the access token goes into a cookie too', async () => {
  const cookieApp = await startApp({ env: { ACCESS_TOKEN_COOKIE: 'true' } })

  test('the cookie signs a browser in, for as long as nobody signs out', async () => {
    const ada = await cookieApp.newUser()
    const browser = await ada.openBrowser()
    expect(browser.cookies.get('portcullis_access')?.attributes).toMatchObject({ httponly: true, samesite: 'Lax' })
    expect((await browser.call(MeDocument))?.id).toBe(ada.id)
    const page = await browser.withCsrfToken()
    await page.call(LogoutDocument)
    expect([...browser.cookies.keys()]).toEqual(['portcullis_device'])
    expect(await browser.call(MeDocument)).toBeNull()
  })

  test('a mutation that it authenticates needs the proof', async () => {
    const ada = await cookieApp.newUser()
    const browser = await ada.openBrowser()
    const input = { currentPassword: ada.password, newPassword: NEXT_PASSWORD }
    expect((await browser.refusal(ChangePasswordDocument, { input })).code).toBe('CSRF_FAILED')
    expect(await cookieApp.eventsOf(ada, { types: ['PASSWORD_CHANGED', 'PASSWORD_CHANGE_FAILED'] })).toEqual([])
    const page = browser.with({ origin: cookieApp.url.replace('127.0.0.1', 'localhost') })
    expectType(await page.call(ChangePasswordDocument, { input }), 'ChangePasswordSuccess')
  })
})

import { describe, expect, test } from 'vitest'
import { startApp } from '../support/app.js'
import type { Browser } from '../support/browser.js'
import { expectType } from '../support/client.js'
import { CsrfTokenDocument, LoginDocument, RefreshDocument } from '../support/generated/graphql.js'

const FRONTEND = 'https://app.example.com'
const READER = 'https://reader.example.com'
const env = { FRONTEND_URL: FRONTEND, CSRF_TRUSTED_ORIGINS: FRONTEND, CORS_ALLOWED_ORIGINS: `${FRONTEND},${READER}` }
const app = await startApp({ env })
const COOKIE = 'portcullis_refresh'
const tokenOf = (browser: Browser) => browser.cookies.get(COOKIE)?.value ?? ''

describe('a planted cookie', () => {
  test('that pairs with a CSRF token proves nothing when the origin is none of ours', async () => {
    const ada = await app.newUser()
    const page = await (await ada.openBrowser()).withCsrfToken()
    const refused = await page.with({ origin: 'https://evil.example' }).refusal(RefreshDocument)
    expect(refused).toMatchObject({ code: 'CSRF_FAILED', status: 403 })
    // The server's own pages, too, where the lists do not name them.
    for (const origin of [READER, app.url]) {
      expectType(await page.with({ origin }).call(RefreshDocument), 'RefreshSuccess')
    }
  })

  test('of the CSRF token, which is none that we have given out, proves nothing and is not handed on', async () => {
    const ada = await app.newUser()
    for (const token of ['x'.repeat(43), `${'x'.repeat(58)}.${'x'.repeat(43)}`]) {
      const cookie = `${COOKIE}=${tokenOf(await ada.openBrowser())}; portcullis_csrf=${token}`
      const page = app.anonymous.with({ cookie, 'x-csrf-token': token })
      expect(await page.refusal(RefreshDocument)).toMatchObject({ code: 'CSRF_FAILED', status: 403 })
      expect(await page.call(CsrfTokenDocument)).not.toBe(token)
    }
  })

  test('beside one of ours makes neither count', async () => {
    const [ada, mallory] = [await app.newUser(), await app.newUser()]
    const [good, planted] = [tokenOf(await ada.openBrowser()), tokenOf(await mallory.openBrowser())]
    for (const cookie of [`${COOKIE}=${planted}; ${COOKIE}=${good}`, `${COOKIE}=${good}; ${COOKIE}=${planted}`]) {
      const result = await app.anonymous.with({ cookie, origin: FRONTEND }).call(RefreshDocument)
      expect(expectType(result, 'InvalidRefreshTokenError').reason).toBe('MISSING')
    }
  })

  // A subdomain may set what a browser takes for another name, without the rules of __Host-.
  test.each(['\u00a0NAME=', 'NAME\u00a0=', '\u00a0\u00a0NAME\u00a0=', 'NAME'])(
    'whose name is nearly ours, %j, is none',
    async (name) => {
      const ada = await app.newUser()
      const good = `${COOKIE}=${tokenOf(await ada.openBrowser())}`
      const planted = `${name.replace('NAME', COOKIE)}${name.endsWith('=') ? 'x' : ''}`
      for (const cookie of [`${planted}; ${good}`, `${good}; ${planted}`]) {
        expectType(await app.anonymous.with({ cookie, origin: FRONTEND }).call(RefreshDocument), 'RefreshSuccess')
      }
      const alone = await app.anonymous.with({ cookie: planted, origin: FRONTEND }).call(RefreshDocument)
      expect(expectType(alone, 'InvalidRefreshTokenError').reason).toBe('MISSING')
    },
  )

  test('of a session is replaced at the login: who planted it gets nothing', async () => {
    const [ada, mallory] = [await app.newUser(), await app.newUser()]
    const planted = tokenOf(await mallory.openBrowser())
    const input = { identifier: ada.email, password: ada.password }
    const browser = app.anonymous.with({ cookie: `${COOKIE}=${planted}` })
    const answer = await browser.execute(LoginDocument, { input })
    const [cookie] = answer.headers.getSetCookie()
    expect(cookie).toMatch(`${COOKIE}=`)
    expect(cookie).not.toContain(planted.slice(0, 24))
    const result = await app.anonymous.call(RefreshDocument, { input: { refreshToken: planted } })
    expect(expectType(result, 'InvalidRefreshTokenError').reason).toBe('REVOKED')
  })
})

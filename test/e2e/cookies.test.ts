import type { Browser, BrowserContext, Page } from 'playwright-core'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import {
  closeSites,
  cookiesOf,
  JSON_TYPE,
  LOGIN,
  LOGOUT,
  MODES,
  REFRESH,
  type Site,
  send,
  serveSite,
  settingsFor,
} from './sites.js'
import { openBrowser, PASSWORD, registerVerified, type Server, signIn, startServer, stopEverything } from './support.js'

const EMAIL = 'cookie@example.com'
const INPUT = { input: { identifier: EMAIL, password: PASSWORD, tokenDelivery: 'COOKIE' } }

let browser: Browser
let frontend: Site

beforeAll(async () => {
  ;[browser, frontend] = await Promise.all([openBrowser(), serveSite()])
})

afterAll(async () => {
  await stopEverything()
  closeSites()
})

describe.each(MODES)('a frontend on another port, with $mode,', ({ settings, prefix, hasAccessCookie }) => {
  let server: Server
  let context: BrowserContext
  let page: Page
  const refreshName = `${prefix}portcullis_refresh`
  const tokenNames = hasAccessCookie ? [refreshName, `${prefix}portcullis_access`] : [refreshName]
  /** What a page gets to see of the tokens. */
  const inBody = {
    accessToken: hasAccessCookie ? '' : expect.stringMatching(/^ey/),
    refreshToken: null,
    user: { email: EMAIL },
  }

  beforeAll(async () => {
    server = await startServer(settingsFor(frontend, settings))
    await registerVerified(server, EMAIL)
  })

  beforeEach(async () => {
    await context?.close()
    context = await browser.newContext()
    page = await context.newPage()
    await page.goto(frontend.origin)
  })

  async function logIn(): Promise<void> {
    const { body } = await send(page, server, LOGIN, INPUT)
    expect(body?.data?.login).toEqual({ __typename: 'LoginSuccess', authentication: inBody })
  }

  it('signs in, renews and signs out; no script ever reads a cookie', async () => {
    await logIn()
    const kept = await context.cookies(server.url)
    expect(kept.map(({ name }) => name)).toEqual(expect.arrayContaining(tokenNames))
    for (const cookie of kept) {
      const isSecure = prefix !== ''
      expect(cookie).toMatchObject({
        httpOnly: true,
        sameSite: 'Lax',
        path: '/',
        domain: 'localhost',
        secure: isSecure,
      })
    }
    const first = await cookiesOf(context, server)
    expect(await page.evaluate(() => document.cookie)).toBe('')

    const refreshed = await send(page, server, REFRESH)
    expect(refreshed.body?.data?.refresh).toEqual({
      ...{ __typename: 'RefreshSuccess', outcome: 'ROTATED', authentication: inBody },
    })
    const second = await cookiesOf(context, server)
    for (const name of tokenNames) expect(second.get(name)).not.toBe(first.get(name))
    expect(await page.evaluate(() => document.cookie)).toBe('')

    const left = await send(page, server, LOGOUT)
    expect(left.body?.data?.logout).toEqual({ __typename: 'LogoutSuccess' })
    expect([...(await cookiesOf(context, server)).keys()]).toEqual([`${prefix}portcullis_device`])
    const again = await send(page, server, REFRESH)
    expect(again.body?.data?.refresh).toMatchObject({ __typename: 'InvalidRefreshTokenError', reason: 'MISSING' })
  })

  it('may prove itself by the token of csrfToken too', async () => {
    await logIn()
    const { body } = await send(page, server, '{ csrfToken }')
    const token = String(body?.data?.csrfToken)
    expect(await page.evaluate(() => document.cookie)).toBe('')
    const refreshed = await send(page, server, REFRESH, {}, { ...JSON_TYPE, 'x-csrf-token': token })
    expect(refreshed.body?.data?.refresh?.__typename).toBe('RefreshSuccess')
  })

  it('signs in again: the session before ends, the one in another browser goes on', async () => {
    await logIn()
    const first = (await cookiesOf(context, server)).get(refreshName)
    const { authentication: other } = await signIn(server, EMAIL)
    await logIn()
    const asProgram = async (refreshToken = '') => {
      const query = `mutation ($input: RefreshInput) { refresh(input: $input) { __typename } }`
      return (await send(page, server, query, { input: { refreshToken } })).body?.data?.refresh?.__typename
    }
    expect(await asProgram(first)).toBe('InvalidRefreshTokenError')
    expect(await asProgram(other?.refreshToken)).toBe('RefreshSuccess')
    expect((await send(page, server, REFRESH)).body?.data?.refresh?.__typename).toBe('RefreshSuccess')
  })

  it.runIf(hasAccessCookie)('is signed in without holding a token, for queries and live events', async () => {
    await logIn()
    const { body } = await send(page, server, '{ me { email } }')
    expect(body?.data?.me).toEqual({ email: EMAIL })
    const query = 'subscription { securityAlerts(minRiskLevel: LOW) { node { type } } }'
    const live = page.evaluate(
      (url) =>
        new Promise<string>((resolve) => {
          const events = new EventSource(url, { withCredentials: true })
          events.addEventListener('next', ({ data }) => resolve(data))
          events.addEventListener('error', () => resolve('refused'))
          events.addEventListener('open', () => document.body.append('open'))
        }),
      `${server.url}/graphql?${new URLSearchParams({ query })}`,
    )
    await page.getByText('open').waitFor()
    await send(page, server, LOGIN, { input: { ...INPUT.input, password: 'not the password' } })
    expect(JSON.parse(await live)).toEqual({ data: { securityAlerts: { node: { type: 'LOGIN_FAILED' } } } })
  })
})

import { once } from 'node:events'
import { createServer, type Server as HttpServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { afterAll, beforeAll, beforeEach, expect, it, vi } from 'vitest'
import { openBrowser, PASSWORD, registerVerified, type Server, startServer, stopEverything } from './support.js'

vi.setConfig({ testTimeout: 60_000, hookTimeout: 120_000 })

const EMAIL = 'cookie@example.com'
const REFRESH_COOKIE = 'portcullis_refresh'

const LOGIN = `mutation ($input: LoginInput!) {
  login(input: $input) { __typename ... on LoginSuccess { authentication { accessToken refreshToken } } }
}`
const REFRESH = `mutation {
  refresh {
    __typename
    ... on RefreshSuccess { outcome authentication { accessToken refreshToken } }
    ... on InvalidRefreshTokenError { reason }
  }
}`
const LOGOUT = 'mutation { logout { __typename } }'

let server: Server
let browser: Browser
let sites: HttpServer[]
/** Pages of the product's own frontend, and of somebody who should get nowhere: same host, so the same cookies. */
let frontend: string
let hostile: string
let context: BrowserContext
let page: Page

async function serveEmptyPages(): Promise<HttpServer> {
  const site = createServer((_request, response) => {
    response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><title>Site</title><h1>Site</h1>')
  }).listen(0, '127.0.0.1')
  await once(site, 'listening')
  return site
}
const originOf = (site: HttpServer) => `http://localhost:${(site.address() as AddressInfo).port}`

beforeAll(async () => {
  sites = [await serveEmptyPages(), await serveEmptyPages()]
  ;[frontend = '', hostile = ''] = sites.map(originOf)
  const settings = { CORS_ALLOWED_ORIGINS: frontend, CSRF_TRUSTED_ORIGINS: frontend }
  ;[server, browser] = await Promise.all([startServer(settings), openBrowser()])
  await registerVerified(server, EMAIL)
})

afterAll(async () => {
  await stopEverything()
  for (const site of sites ?? []) site.close()
})

beforeEach(async () => {
  await context?.close()
  context = await browser.newContext()
  page = await context.newPage()
  await page.goto(frontend)
})

interface Outcome {
  status?: number
  body?: { data?: Record<string, Record<string, unknown>>; errors?: { extensions: { code: string } }[] }
  /** What the page was told when it was told nothing else. */
  failure?: string
}

/** One request from within the page, with its cookies. */
function send(from: Page, query: string, headers: Record<string, string>, variables: object = {}): Promise<Outcome> {
  return from.evaluate(
    async ([url, sentHeaders, body]) => {
      try {
        const response = await fetch(url, { method: 'POST', credentials: 'include', headers: sentHeaders, body })
        return { status: response.status, body: await response.json() }
      } catch (error) {
        return { failure: String(error) }
      }
    },
    [`${server.url}/graphql`, headers, JSON.stringify({ query, variables })] as const,
  )
}

const JSON_TYPE = { 'content-type': 'application/json' }
const input = { identifier: EMAIL, password: PASSWORD, tokenDelivery: 'COOKIE' }
const cookies = async () => (await context.cookies(server.url)).filter(({ value }) => value !== '')
const refreshCookie = async () => (await cookies()).find(({ name }) => name === REFRESH_COOKIE)

async function signIn(): Promise<void> {
  const { body } = await send(page, LOGIN, JSON_TYPE, { input })
  expect(body?.data?.login).toEqual({
    __typename: 'LoginSuccess',
    authentication: { accessToken: expect.any(String), refreshToken: null },
  })
}

it('keeps the refresh token where no script can read it, renews by it and forgets it', async () => {
  await signIn()
  const first = await refreshCookie()
  expect(first).toMatchObject({ httpOnly: true, sameSite: 'Lax', path: '/', domain: 'localhost' })
  expect(await page.evaluate(() => document.cookie)).toBe('')

  const refreshed = await send(page, REFRESH, JSON_TYPE)
  expect(refreshed.body?.data?.refresh).toEqual({
    __typename: 'RefreshSuccess',
    outcome: 'ROTATED',
    authentication: { accessToken: expect.any(String), refreshToken: null },
  })
  const second = await refreshCookie()
  expect(second?.value).not.toBe(first?.value)
  expect(await page.evaluate(() => document.cookie)).toBe('')

  const left = await send(page, LOGOUT, JSON_TYPE)
  expect(left.body?.data?.logout).toEqual({ __typename: 'LogoutSuccess' })
  expect((await cookies()).map(({ name }) => name)).toEqual(['portcullis_device'])
  const again = await send(page, REFRESH, JSON_TYPE)
  expect(again.body?.data?.refresh).toMatchObject({ __typename: 'InvalidRefreshTokenError', reason: 'MISSING' })
})

it('takes the token of csrfToken as proof too', async () => {
  await signIn()
  const { body } = await send(page, '{ csrfToken }', JSON_TYPE)
  const token = String(body?.data?.csrfToken)
  expect(await page.evaluate(() => document.cookie)).toBe('')
  const refreshed = await send(page, REFRESH, { ...JSON_TYPE, 'x-csrf-token': token })
  expect(refreshed.body?.data?.refresh?.__typename).toBe('RefreshSuccess')
})

it('leaves a page of another origin nothing to read and nothing to do', async () => {
  await signIn()
  const before = await refreshCookie()
  const attacker = await context.newPage()
  await attacker.goto(hostile)
  // Nothing but the origin keeps them apart: the browser does send the cookie from there.
  expect((await context.cookies(`${hostile}/graphql`)).map(({ name }) => name)).toContain(REFRESH_COOKIE)

  for (const query of [REFRESH, LOGOUT, '{ csrfToken }', '{ me { email } }']) {
    for (const type of ['application/json', 'text/plain', 'application/x-www-form-urlencoded']) {
      expect(await send(attacker, query, { 'content-type': type })).toEqual({ failure: expect.stringMatching(/fetch/) })
    }
    expect(await send(attacker, query, { ...JSON_TYPE, 'x-csrf-token': 'guessed' })).toHaveProperty('failure')
  }
  const sendBlindly = (url: string, options: RequestInit) =>
    attacker.evaluate(
      async ([to, init]) => (await fetch(to, { mode: 'no-cors', credentials: 'include', ...init })).type,
      [url, options] as const,
    )
  for (const query of [REFRESH, LOGOUT]) {
    const post = { method: 'POST', body: JSON.stringify({ query }) }
    expect(await sendBlindly(`${server.url}/graphql`, post)).toBe('opaque')
    expect(await sendBlindly(`${server.url}/graphql?query=${encodeURIComponent(query)}`, {})).toBe('opaque')
  }

  for (const [query, enctype] of [
    [REFRESH, 'text/plain'],
    [LOGOUT, 'text/plain'],
    [LOGOUT, 'application/x-www-form-urlencoded'],
    [LOGOUT, 'multipart/form-data'],
  ] as const) {
    await attacker.goto(hostile)
    const answered = attacker.waitForResponse(`${server.url}/graphql`)
    await attacker.evaluate(
      ([url, type, text]) => {
        const form = Object.assign(document.createElement('form'), { method: 'post', action: url, enctype: type })
        // As text/plain, name and value make up one JSON document.
        const field = Object.assign(document.createElement('input'), {
          name: `{"query":${JSON.stringify(text)},"x":"`,
          value: '"}',
        })
        form.append(field)
        document.body.append(form)
        form.submit()
      },
      [`${server.url}/graphql`, enctype, query] as const,
    )
    const response = await answered
    await attacker.waitForURL(`${server.url}/graphql`)
    expect(response.status()).toBe(415)
    expect((await response.request().allHeaders()).cookie).toContain(REFRESH_COOKIE)
  }

  await attacker.goto(hostile)
  const socket = await attacker.evaluate(
    (url) =>
      new Promise((resolve) => {
        const opened = new WebSocket(url, 'graphql-transport-ws')
        opened.onopen = () => resolve('open')
        opened.onerror = () => resolve('refused')
      }),
    `${server.url.replace('http', 'ws')}/graphql`,
  )
  expect(socket).toBe('refused')

  expect((await refreshCookie())?.value).toBe(before?.value)
  const alive = await send(page, REFRESH, JSON_TYPE)
  expect(alive.body?.data?.refresh).toMatchObject({ __typename: 'RefreshSuccess', outcome: 'ROTATED' })
})

// Sites beside the server, on ports of the same host: to a browser they are other origins with the same cookies.
import { once } from 'node:events'
import { createServer, type Server as HttpServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { BrowserContext, Page } from 'playwright-core'
import type { Server } from './support.js'

const open: HttpServer[] = []

export interface Site {
  /** As people reach it: http://localhost:PORT. */
  origin: string
  /** The same pages as another site, whose requests carry no cookie that is SameSite. */
  elsewhere: string
}

/** An empty page at every address, which sets the cookies that its query asks for: `?set=name=value; Path=/`. */
export async function serveSite(): Promise<Site> {
  const site = createServer((request, response) => {
    const cookies = new URL(request.url ?? '/', 'http://localhost').searchParams.getAll('set')
    if (cookies.length > 0) response.setHeader('set-cookie', cookies)
    response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><title>Site</title><h1>Site</h1>')
  }).listen(0, '127.0.0.1')
  await once(site, 'listening')
  open.push(site)
  const { port } = site.address() as AddressInfo
  return { origin: `http://localhost:${port}`, elsewhere: `http://127.0.0.1:${port}` }
}

/** For afterAll. */
export function closeSites(): void {
  for (const site of open.splice(0)) site.close()
}

export interface Outcome {
  status?: number
  body?: { data?: Record<string, Record<string, unknown>>; errors?: { extensions: { code: string } }[] }
  /** What the page was told when it was told nothing else. */
  failure?: string
}

export const JSON_TYPE = { 'content-type': 'application/json' }

/** One operation from within a page, with the cookies of its browser. */
export function send(
  from: Page,
  server: Server,
  query: string,
  variables: object = {},
  headers: Record<string, string> = JSON_TYPE,
): Promise<Outcome> {
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

/** What the browser would send to the server, by name. */
export async function cookiesOf(context: BrowserContext, server: Server): Promise<Map<string, string>> {
  const cookies = await context.cookies(`${server.url}/`)
  return new Map(cookies.filter(({ value }) => value !== '').map(({ name, value }) => [name, value]))
}

export const LOGIN = `mutation ($input: LoginInput!) {
  login(input: $input) { __typename ... on LoginSuccess { authentication { accessToken refreshToken user { email } } } }
}`
export const REFRESH = `mutation {
  refresh {
    __typename
    ... on RefreshSuccess { outcome authentication { accessToken refreshToken user { email } } }
    ... on InvalidRefreshTokenError { reason }
  }
}`
export const LOGOUT = 'mutation { logout { __typename } }'

/** A server whose frontend is that site, and which counts no calls. */
export const settingsFor = ({ origin }: Site, settings: Record<string, string>) => ({
  ...{ CORS_ALLOWED_ORIGINS: origin, CSRF_TRUSTED_ORIGINS: origin, RATE_LIMITS: 'off' },
  ...settings,
})

/** The settings that change what a browser keeps, with what its cookies are then called. */
export const MODES = [
  { mode: 'the refresh token in a cookie', settings: {}, prefix: '', hasAccessCookie: false },
  {
    mode: 'both tokens in cookies',
    settings: { ACCESS_TOKEN_COOKIE: 'true' },
    prefix: '',
    hasAccessCookie: true,
  },
  {
    // Chromium takes localhost for secure: Secure and __Host- hold there as they do behind TLS.
    mode: 'both tokens in __Host- cookies',
    settings: { ACCESS_TOKEN_COOKIE: 'true', PUBLIC_URL: 'https://localhost:4443' },
    prefix: '__Host-',
    hasAccessCookie: true,
  },
]

import type { IncomingMessage } from 'node:http'
import { parseCookie, stringifySetCookie } from 'cookie'
import type { TokenCookies, Transport } from '../context.js'
import { isCsrfTokenValid, issueCsrfToken } from '../crypto/csrf.js'
import type { KeyRing } from '../crypto/key-ring.js'
import { BadInputError, CsrfFailedError, RequestError } from '../errors.js'
import type { RateLimitVerdict } from '../ports.js'
import type { Head } from './head.js'

export interface TransportSettings {
  csrfKeys: KeyRing
  /** Origins whose pages may act with the user's cookies. */
  isTrustedOrigin(origin: string): boolean
  /** False only on http in development: no Secure, and no __Host- prefix, which requires it. */
  isSecure(): boolean
  /** Whether the access token goes into a cookie too. */
  hasAccessCookie: boolean
}

export interface HttpTransport extends Transport {
  /** The access token of its cookie, in the mode that has one. */
  readonly accessCookie: string | null
  /** Whether the hidden field of a form holds the token of the CSRF cookie. */
  isCsrfField(field: string | null): boolean
  /** Whether the request proves that a page of ours sent it. */
  hasCsrfProof(): boolean
}

type CookieName = 'refresh' | 'access' | 'csrf' | 'device'

const NO_COOKIES: Readonly<Record<string, string | undefined>> = {}

/** Cookies, CSRF proof and limit headers of one HTTP exchange. */
class NodeTransport implements HttpTransport {
  private readonly request: IncomingMessage
  private readonly head: Head
  private readonly settings: TransportSettings
  private readonly cookies: Readonly<Record<string, string | undefined>>
  private issuedCsrfToken: string | undefined
  private leastRemaining = Number.POSITIVE_INFINITY

  constructor(request: IncomingMessage, head: Head, settings: TransportSettings) {
    const { cookie } = request.headers
    this.request = request
    this.head = head
    this.settings = settings
    this.cookies = cookie ? parseCookie(cookie) : NO_COOKIES
  }

  get refreshCookie(): string | null {
    return this.read('refresh')
  }

  get accessCookie(): string | null {
    return this.settings.hasAccessCookie ? this.read('access') : null
  }

  get deviceCookie(): string | null {
    return this.read('device')
  }

  isCsrfField(field: string | null): boolean {
    return isCsrfTokenValid(this.settings.csrfKeys, this.read('csrf') ?? undefined, field ?? undefined)
  }

  hasCsrfProof(): boolean {
    const { origin, 'x-csrf-token': token, 'content-type': contentType } = this.request.headers
    if (this.isCsrfField(typeof token === 'string' ? token : null)) return true
    // A page elsewhere cannot send this content type without a preflight, which its origin does not pass.
    const isJson = contentType?.startsWith('application/json') === true
    return origin !== undefined && this.settings.isTrustedOrigin(origin) && isJson
  }

  assertCsrf(): void {
    if (!this.hasCsrfProof()) throw new CsrfFailedError()
  }

  assertCookies(): void {
    if (this.head.isSent) throw new BadInputError(['input', 'tokenDelivery'], 'No cookie can be set here; use BODY.')
  }

  setTokenCookies({ refreshToken, refreshExpiresAt, accessToken, expiresAt }: TokenCookies): void {
    this.set('refresh', refreshToken, refreshExpiresAt)
    if (this.settings.hasAccessCookie) this.set('access', accessToken, expiresAt)
  }

  clearTokenCookies(): void {
    if (this.head.isSent) return
    // Not "cookies": that would take those of the product's other hosts too, and the one of the known device.
    if (this.refreshCookie) this.head.set('clear-site-data', '"cache", "storage"')
    const past = new Date(0)
    this.set('refresh', '', past)
    if (this.settings.hasAccessCookie) this.set('access', '', past)
    this.set('csrf', '', past)
  }

  setDeviceCookie({ value, expiresAt }: { value: string; expiresAt: Date }): void {
    if (!this.head.isSent) this.set('device', value, expiresAt)
  }

  csrfToken(): string {
    const { csrfKeys } = this.settings
    const known = this.read('csrf')
    if (known && isCsrfTokenValid(csrfKeys, known, known)) return known
    if (!this.issuedCsrfToken) {
      this.issuedCsrfToken = issueCsrfToken(csrfKeys)
      this.set('csrf', this.issuedCsrfToken)
    }
    return this.issuedCsrfToken
  }

  reportLimit({ limit, remaining, resetMs }: RateLimitVerdict): void {
    if (this.head.isSent || remaining >= this.leastRemaining) return
    this.leastRemaining = remaining
    this.head.set('ratelimit-limit', limit)
    this.head.set('ratelimit-remaining', remaining)
    this.head.set('ratelimit-reset', Math.ceil(resetMs / 1000))
  }

  private nameOf(name: CookieName): string {
    return `${this.settings.isSecure() ? '__Host-' : ''}portcullis_${name}`
  }

  private read(name: CookieName): string | null {
    return this.cookies[this.nameOf(name)] || null
  }

  private set(name: CookieName, value: string, expires?: Date): void {
    const attributes = { httpOnly: true, secure: this.settings.isSecure(), sameSite: 'lax', path: '/' } as const
    this.head.addCookie(
      stringifySetCookie({ name: this.nameOf(name), value, ...attributes, ...(expires && { expires }) }),
    )
  }
}

export const createHttpTransport = (request: IncomingMessage, head: Head, settings: TransportSettings): HttpTransport =>
  new NodeTransport(request, head, settings)

/** What a WebSocket can do: it carries tokens in messages only. */
export const createSocketTransport = (): Transport => ({
  refreshCookie: null,
  assertCsrf() {},
  assertCookies() {
    throw new BadInputError(['input', 'tokenDelivery'], 'A WebSocket sets no cookies; use BODY.')
  },
  setTokenCookies() {},
  clearTokenCookies() {},
  deviceCookie: null,
  setDeviceCookie() {},
  csrfToken() {
    throw new RequestError('BAD_USER_INPUT', 'CSRF tokens are for cookies: ask for one over HTTP.')
  },
  reportLimit() {},
})

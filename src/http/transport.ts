import type { IncomingMessage } from 'node:http'
import { parseCookie, stringifySetCookie } from 'cookie'
import type { TokenCookies, Transport } from '../context.js'
import { isCsrfTokenValid, issueCsrfToken } from '../crypto/csrf.js'
import type { KeyRing } from '../crypto/key-ring.js'
import { BadInputError, CsrfFailedError } from '../errors.js'
import type { RateLimitVerdict } from '../ports.js'
import type { Head } from './head.js'
import { isForeign } from './origins.js'

export interface TransportSettings {
  csrfKeys: KeyRing
  /** Origins whose pages may act with the user's cookies. */
  isTrustedOrigin(origin: string): boolean
  /** Those, the server's own, and origins whose pages may read answers: they can act with the CSRF token. */
  isKnownOrigin(origin: string): boolean
  /** False only on http in development: no Secure, and no __Host- prefix, which requires it. */
  isSecure(): boolean
  /** Whether the access token goes into a cookie too. */
  hasAccessCookie: boolean
}

export interface HttpTransport extends Transport {
  /** If the response is a stream: the event after which it begins, and what aborts when it may go on no longer. */
  readonly stream: { firstEventId: string; life: AbortSignal } | null
  /** Whether a page that we do not know has sent the request: no cookie counts then, whatever else comes with it. */
  isForeign(): boolean
  /** Whether a form is one of ours: its hidden field holds the token of the CSRF cookie, and no other page has sent it. */
  isOwnForm(field: string | null): boolean
}

type CookieName = 'refresh' | 'access' | 'csrf' | 'device'

/** Cookies, CSRF proof and limit headers of one HTTP exchange. */
class NodeTransport implements HttpTransport {
  private readonly request: IncomingMessage
  private readonly head: Head
  private readonly settings: TransportSettings
  private issuedCsrfToken: string | undefined
  stream: HttpTransport['stream'] = null
  private leastRemaining = Number.POSITIVE_INFINITY

  constructor(request: IncomingMessage, head: Head, settings: TransportSettings) {
    this.request = request
    this.head = head
    this.settings = settings
  }

  get refreshCookie(): string | null {
    return this.read('refresh')
  }

  get accessCookie(): string | null {
    return this.settings.hasAccessCookie ? this.read('access') : null
  }

  get lastEventId(): string | null {
    const { 'last-event-id': id } = this.request.headers
    return typeof id === 'string' && id !== '' ? id : null
  }

  get hasAccessCookie(): boolean {
    return this.settings.hasAccessCookie
  }

  get deviceCookie(): string | null {
    return this.read('device')
  }

  beginStream(firstEventId: string, life: AbortSignal): void {
    this.stream = { firstEventId, life }
  }

  isForeign(): boolean {
    return isForeign(this.request.headers, this.settings.isKnownOrigin)
  }

  isOwnForm(field: string | null): boolean {
    // Our pages send no referrer, so that even their own forms come from the origin "null".
    const { origin, ...headers } = this.request.headers
    const sender = origin === 'null' ? headers : { ...headers, origin }
    return this.isCsrfToken(field) && !isForeign(sender, this.settings.isKnownOrigin)
  }

  hasCsrfProof(): boolean {
    // Whoever can set cookies for our host can plant a CSRF cookie whose token he knows: the token alone is no proof.
    if (this.isForeign()) return false
    const { origin, 'x-csrf-token': token, 'content-type': contentType } = this.request.headers
    if (this.isCsrfToken(typeof token === 'string' ? token : null)) return true
    // A page elsewhere cannot send this content type without a preflight, which its origin does not pass.
    const isJson = contentType?.toLowerCase().startsWith('application/json') === true
    return origin !== undefined && this.settings.isTrustedOrigin(origin) && isJson
  }

  assertCsrf(): void {
    if (!this.hasCsrfProof()) throw new CsrfFailedError()
  }

  assertCookies(): void {
    if (this.head.isSent) throw new BadInputError(['input', 'tokenDelivery'], 'No cookie can be set here; use BODY.')
    // No other site may sign the browser in to an account of its choice. What is no browser says nothing of origins.
    if (isForeign(this.request.headers, this.settings.isTrustedOrigin)) this.assertCsrf()
  }

  setTokenCookies({ refreshToken, refreshExpiresAt, accessToken, expiresAt }: TokenCookies): void {
    this.set('refresh', refreshToken, refreshExpiresAt)
    if (this.settings.hasAccessCookie) this.set('access', accessToken, expiresAt)
  }

  clearTokenCookies(): void {
    // Not "cookies": that would take those of the product's other hosts too, and the one of the known device.
    if (this.refreshCookie || this.accessCookie) this.head.set('clear-site-data', '"cache", "storage"')
    const past = new Date(0)
    this.set('refresh', '', past)
    if (this.settings.hasAccessCookie) this.set('access', '', past)
    this.set('csrf', '', past)
  }

  setDeviceCookie({ value, expiresAt }: { value: string; expiresAt: Date }): void {
    this.set('device', value, expiresAt)
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
    if (remaining >= this.leastRemaining) return
    this.leastRemaining = remaining
    this.head.set('ratelimit-limit', limit)
    this.head.set('ratelimit-remaining', remaining)
    this.head.set('ratelimit-reset', Math.ceil(resetMs / 1000))
  }

  private nameOf(name: CookieName): string {
    return `${this.settings.isSecure() ? '__Host-' : ''}portcullis_${name}`
  }

  private isCsrfToken(token: string | null): boolean {
    return isCsrfTokenValid(this.settings.csrfKeys, this.read('csrf') ?? undefined, token ?? undefined)
  }

  /**
   * Null also where there are two of the name: a page elsewhere on our host has planted one, and none tells which. What else
   * comes along is read into nothing: a request would hold many times its bytes.
   */
  private read(name: CookieName): string | null {
    const { cookie } = this.request.headers
    if (!cookie) return null
    const fullName = this.nameOf(name)
    // A name that is ours only without its no-break space is none of ours: to the browser it has no prefix __Host-.
    const named = cookie.split(';').filter((pair) => pair.includes(fullName))
    const [value, another] = named.map((pair) => parseCookie(pair)[fullName]).filter((each) => each !== undefined)
    return another === undefined ? value || null : null
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
  hasCsrfProof: () => true,
  assertCsrf() {},
  assertCookies() {
    throw new BadInputError(['input', 'tokenDelivery'], 'A WebSocket sets no cookies; use BODY.')
  },
  hasAccessCookie: false,
  accessCookie: null,
  setTokenCookies() {},
  clearTokenCookies() {},
  deviceCookie: null,
  lastEventId: null,
  beginStream() {},
  setDeviceCookie() {},
  csrfToken() {
    throw new BadInputError([], 'CSRF tokens are for cookies: ask for one over HTTP.')
  },
  reportLimit() {},
})

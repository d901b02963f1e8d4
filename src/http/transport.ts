import type { IncomingMessage, ServerResponse } from 'node:http'
import { parseCookie, stringifySetCookie } from 'cookie'
import type { Transport } from '../context.js'
import { isCsrfTokenValid, issueCsrfToken } from '../crypto/csrf.js'
import type { KeyRing } from '../crypto/key-ring.js'
import { BadInputError, CsrfFailedError, RequestError } from '../errors.js'

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

type CookieName = 'refresh' | 'access' | 'csrf'

/** Cookies, CSRF proof and limit headers of one HTTP exchange. */
export function createHttpTransport(
  request: IncomingMessage,
  response: ServerResponse,
  settings: TransportSettings,
): HttpTransport {
  const { csrfKeys, isTrustedOrigin, isSecure, hasAccessCookie } = settings
  const nameOf = (name: CookieName) => `${isSecure() ? '__Host-' : ''}portcullis_${name}`
  const cookies = parseCookie(request.headers.cookie ?? '')
  const read = (name: CookieName) => cookies[nameOf(name)] || null

  const set = (name: CookieName, value: string, expires?: Date) => {
    const attributes = { httpOnly: true, secure: isSecure(), sameSite: 'lax', path: '/' } as const
    const cookie = stringifySetCookie({ name: nameOf(name), value, ...attributes, ...(expires && { expires }) })
    response.appendHeader('set-cookie', cookie)
  }

  let issuedCsrfToken: string | undefined
  function hasCsrfProof(): boolean {
    const { origin, 'x-csrf-token': token, 'content-type': contentType } = request.headers
    if (isCsrfTokenValid(csrfKeys, read('csrf') ?? undefined, typeof token === 'string' ? token : undefined))
      return true
    // A page elsewhere cannot send this content type without a preflight, which its origin does not pass.
    return origin !== undefined && isTrustedOrigin(origin) && contentType?.startsWith('application/json') === true
  }

  let leastRemaining = Number.POSITIVE_INFINITY

  return {
    refreshCookie: read('refresh'),
    accessCookie: hasAccessCookie ? read('access') : null,

    isCsrfField: (field) => isCsrfTokenValid(csrfKeys, read('csrf') ?? undefined, field ?? undefined),

    hasCsrfProof,

    assertCsrf() {
      if (!hasCsrfProof()) throw new CsrfFailedError()
    },

    assertCookies() {
      if (response.headersSent)
        throw new BadInputError(['input', 'tokenDelivery'], 'No cookie can be set here; use BODY.')
    },

    setTokenCookies({ refreshToken, refreshExpiresAt, accessToken, expiresAt }) {
      set('refresh', refreshToken, refreshExpiresAt)
      if (hasAccessCookie) set('access', accessToken, expiresAt)
    },

    clearTokenCookies() {
      if (response.headersSent) return
      const past = new Date(0)
      set('refresh', '', past)
      if (hasAccessCookie) set('access', '', past)
      set('csrf', '', past)
    },

    csrfToken() {
      const known = read('csrf')
      if (known && isCsrfTokenValid(csrfKeys, known, known)) return known
      if (!issuedCsrfToken) {
        issuedCsrfToken = issueCsrfToken(csrfKeys)
        set('csrf', issuedCsrfToken)
      }
      return issuedCsrfToken
    },

    reportLimit({ limit, remaining, resetMs }) {
      if (response.headersSent || remaining >= leastRemaining) return
      leastRemaining = remaining
      response.setHeader('ratelimit-limit', limit)
      response.setHeader('ratelimit-remaining', remaining)
      response.setHeader('ratelimit-reset', Math.ceil(resetMs / 1000))
    },
  }
}

/** What a WebSocket can do: it carries tokens in messages only. */
export const createSocketTransport = (): Transport => ({
  refreshCookie: null,
  assertCsrf() {},
  assertCookies() {
    throw new BadInputError(['input', 'tokenDelivery'], 'A WebSocket sets no cookies; use BODY.')
  },
  setTokenCookies() {},
  clearTokenCookies() {},
  csrfToken() {
    throw new RequestError('BAD_USER_INPUT', 'CSRF tokens are for cookies: ask for one over HTTP.')
  },
  reportLimit() {},
})

import type { IncomingMessage, ServerResponse } from 'node:http'

const HSTS_SECONDS = 63_072_000
/** For answers that are data; pages have one of their own. */
const DATA_CSP = "default-src 'none'; frame-ancestors 'none'"
const PREFLIGHT_SECONDS = '600'
const ALLOWED_HEADERS = 'accept, authorization, content-type, last-event-id, x-csrf-token, x-request-id'
const EXPOSED_HEADERS = 'ratelimit-limit, ratelimit-remaining, ratelimit-reset, retry-after, x-request-id'

/** The headers that every response carries. Nothing is stored: nearly every answer is somebody's own. */
export function setSecurityHeaders(response: ServerResponse, requestId: string, isProduction: boolean): void {
  response.setHeader('x-request-id', requestId)
  response.setHeader('content-security-policy', DATA_CSP)
  response.setHeader('x-content-type-options', 'nosniff')
  response.setHeader('referrer-policy', 'no-referrer')
  response.setHeader('cache-control', 'no-store')
  response.setHeader('cross-origin-opener-policy', 'same-origin')
  if (isProduction) response.setHeader('strict-transport-security', `max-age=${HSTS_SECONDS}; includeSubDomains`)
}

/**
 * Cross-origin access for exactly the listed origins (Fetch standard). Returns true when the request was a preflight and
 * has been answered.
 */
export function handleCors(
  request: IncomingMessage,
  response: ServerResponse,
  isAllowed: (origin: string) => boolean,
): boolean {
  const { origin } = request.headers
  response.setHeader('vary', 'origin')
  if (origin && isAllowed(origin)) {
    response.setHeader('access-control-allow-origin', origin)
    response.setHeader('access-control-allow-credentials', 'true')
    response.setHeader('access-control-expose-headers', EXPOSED_HEADERS)
  }
  if (request.method !== 'OPTIONS') return false
  if (origin && isAllowed(origin)) {
    response.setHeader('access-control-allow-methods', 'GET, POST')
    response.setHeader('access-control-allow-headers', ALLOWED_HEADERS)
    response.setHeader('access-control-max-age', PREFLIGHT_SECONDS)
  }
  response.writeHead(204).end()
  return true
}

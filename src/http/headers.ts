import type { IncomingMessage } from 'node:http'
import type { Head } from './head.js'

const HSTS_SECONDS = 63_072_000
/** For answers that are data; pages have one of their own. */
const DATA_CSP = "default-src 'none'; base-uri 'none'; frame-ancestors 'none'"
const PREFLIGHT_SECONDS = '600'
const ALLOWED_HEADERS = 'accept, authorization, content-type, last-event-id, x-csrf-token, x-request-id'
const EXPOSED_HEADERS = 'ratelimit-limit, ratelimit-remaining, ratelimit-reset, retry-after, x-request-id'

/** The headers that every response carries. Nothing is stored: nearly every answer is somebody's own. */
export const securityHeaders = (isProduction: boolean): readonly string[] => [
  ...['content-security-policy', DATA_CSP],
  ...['x-content-type-options', 'nosniff'],
  ...['referrer-policy', 'no-referrer'],
  ...['cache-control', 'no-store'],
  ...['cross-origin-opener-policy', 'same-origin'],
  ...(isProduction ? ['strict-transport-security', `max-age=${HSTS_SECONDS}; includeSubDomains`] : []),
]

/** A whole answer that is a head, as it goes over the wire: for what never becomes a request to Node. */
export const bareAnswer = (status: string, fields: readonly string[]): string =>
  [`HTTP/1.1 ${status}`, 'connection: close', 'content-length: 0', ...headLines(fields), '', ''].join('\r\n')

/** Names and values in turn, as lines. */
export const headLines = (fields: readonly string[]): string[] =>
  fields.flatMap((name, index) => (index % 2 === 0 ? [`${name}: ${fields[index + 1]}`] : []))

/**
 * Cross-origin access for exactly the listed origins (Fetch standard). Returns true when the request was a preflight and
 * has been answered.
 */
export function handleCors(request: IncomingMessage, head: Head, isAllowed: (origin: string) => boolean): boolean {
  const { origin } = request.headers
  head.set('vary', 'origin')
  if (origin && isAllowed(origin)) {
    head.set('access-control-allow-origin', origin)
    head.set('access-control-allow-credentials', 'true')
    head.set('access-control-expose-headers', EXPOSED_HEADERS)
  }
  if (request.method !== 'OPTIONS') return false
  if (origin && isAllowed(origin)) {
    head.set('access-control-allow-methods', 'GET, POST')
    head.set('access-control-allow-headers', ALLOWED_HEADERS)
    head.set('access-control-max-age', PREFLIGHT_SECONDS)
  }
  head.send(204)
  return true
}

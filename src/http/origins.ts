import type { IncomingHttpHeaders } from 'node:http'

/**
 * Whether a page that is none of ours has sent the request, as far as the browser tells. `Origin` stands on every POST of
 * a browser and on every request that reads across origins; `Sec-Fetch-Site` (Fetch Metadata) tells of the rest, such as
 * images and links. A program that is no browser sends neither.
 */
export function isForeign(
  { origin, 'sec-fetch-site': site }: IncomingHttpHeaders,
  isOurs: (origin: string) => boolean,
): boolean {
  if (site === 'same-origin') return false
  if (origin !== undefined) return !isOurs(origin)
  return site === 'cross-site' || site === 'same-site'
}

/** What an operation can be answered with, a subscription not with all of it. */
const OFFERED = ['application/json', 'application/graphql-response+json', 'text/event-stream', 'multipart/mixed']
/** So many wishes are looked at; no client has as many. */
const MAX_WISHES = 100
const NEVER = /;\s*q\s*=\s*0(\.0*)?\s*(;|$)/

function isOffered(range: string): boolean {
  const [type, subtype] = range.split('/')
  return OFFERED.some((offered) => {
    const [ownType, ownSubtype] = offered.split('/')
    return (type === '*' || type === ownType) && (subtype === '*' || subtype === ownSubtype)
  })
}

/**
 * What of an `accept` header can be answered, for Yoga to choose from; null when none of it can. Yoga by itself would look
 * at it only when the operation has been carried out, and takes `q=0` for a wish.
 */
export function acceptable(accept: string | undefined): string | null {
  if (accept === 'application/json' || accept === '*/*') return accept
  const wishes = (accept || '*/*').toLowerCase().split(',', MAX_WISHES)
  const ranges = wishes.flatMap((wish) => {
    const range = wish.split(';', 1)[0]?.trim() ?? ''
    return isOffered(range) && !NEVER.test(wish) ? [range] : []
  })
  return ranges.length > 0 ? ranges.join(',') : null
}

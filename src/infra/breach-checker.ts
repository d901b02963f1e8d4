import type { BreachChecker } from '../ports.js'

/** Lines are `<35 hex digits>:<count>`; a count of 0 is padding, which hides how long the answer really is. */
function isListed(range: string, suffix: string): boolean {
  return range.split('\n').some((line) => {
    const [tail = '', count] = line.trim().split(':')
    return tail.toUpperCase() === suffix && Number(count) > 0
  })
}

/** Asks a range service such as `https://api.pwnedpasswords.com/range/`. A null URL turns it off: nothing is breached. */
export function createBreachChecker(rangeUrl: string | null): BreachChecker {
  if (rangeUrl === null) return { isBreached: async () => false }
  const base = rangeUrl.endsWith('/') ? rangeUrl : `${rangeUrl}/`
  return {
    isBreached: async (sha1, timeoutMs) => {
      try {
        const response = await fetch(base + sha1.slice(0, 5), {
          headers: { 'Add-Padding': 'true', 'User-Agent': 'portcullis' },
          redirect: 'error',
          signal: AbortSignal.timeout(timeoutMs),
        })
        const body = await response.text()
        return response.ok ? isListed(body, sha1.slice(5)) : null
      } catch {
        return null
      }
    },
  }
}

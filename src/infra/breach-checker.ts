import dns from 'node:dns'
import { Readable } from 'node:stream'
import type { ReadableStream } from 'node:stream/web'
import { setTimeout as sleep } from 'node:timers/promises'
import { shared } from '../batches.js'
import type { BreachChecker } from '../ports.js'

/** An answer has some 40,000. */
const MAX_CHARACTERS = 1_000_000

/** Lines are `<35 hex digits>:<count>`; a count of 0 is padding, which hides how long the answer really is. */
function isListed(range: string, suffix: string): boolean {
  return range.split('\n').some((line) => {
    const [tail = '', count] = line.trim().split(':')
    return tail.toUpperCase() === suffix && Number(count) > 0
  })
}

/** All of the answer. Of its signal fetch itself keeps no hold: it may be collected as garbage, and the answer goes on for ever. */
async function read({ body }: Response, signal: AbortSignal): Promise<string> {
  let text = ''
  if (!body) return text
  for await (const part of Readable.fromWeb(body as ReadableStream, { encoding: 'utf8', signal })) {
    text += part
    if (text.length > MAX_CHARACTERS) throw new Error('The answer is too long')
  }
  return text
}

/** Asks a range service such as `https://api.pwnedpasswords.com/range/`. A null URL turns it off: nothing is breached. */
export function createBreachChecker(rangeUrl: string | null): BreachChecker {
  if (rangeUrl === null) return { isBreached: async () => false }
  const base = rangeUrl.endsWith('/') ? rangeUrl : `${rangeUrl}/`
  const host = new URL(base).hostname.replace(/^\[|\]$/g, '')
  // Names are looked up by two threads, and nothing ends a look-up that no resolver answers: with one for each password, new
  // connections to the database would wait for these.
  const find = shared(() => dns.promises.lookup(host))
  return {
    isBreached: async (sha1, timeoutMs) => {
      const signal = AbortSignal.timeout(timeoutMs)
      try {
        if (!(await Promise.race([find(), sleep(timeoutMs, null, { ref: false })]))) return null
        const response = await fetch(base + sha1.slice(0, 5), {
          headers: { 'Add-Padding': 'true', 'User-Agent': 'portcullis' },
          redirect: 'error',
          signal,
        })
        const body = await read(response, signal)
        return response.ok ? isListed(body, sha1.slice(5)) : null
      } catch {
        return null
      }
    },
  }
}

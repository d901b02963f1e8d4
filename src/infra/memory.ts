import { createHash } from 'node:crypto'
import type { EventBus, Log, RateLimitRule, RateLimitStore, RateLimitVerdict } from '../ports.js'

const monotonic = () => performance.now()

interface CallLog {
  /** Times of the counted calls in milliseconds, oldest first. */
  times: number[]
  windowMs: number
}

interface Counted {
  rule: RateLimitRule
  key: string
  log: CallLog
}

const LONGEST_PLAIN_KEY = 100
// A client chooses parts of the keys, so their length has to be bounded. The window is a part of the identity, because
// two rules with different windows cannot share one log.
const logKey = ({ key, windowMs }: RateLimitRule) =>
  `${windowMs}:${key.length > LONGEST_PLAIN_KEY ? createHash('sha256').update(key).digest('base64url') : key}`

function dropExpired(log: CallLog, now: number): void {
  const expired = log.times.findIndex((time) => time > now - log.windowMs)
  if (expired !== 0) log.times.splice(0, expired === -1 ? log.times.length : expired)
}

function refusal({ max, windowMs }: RateLimitRule, log: CallLog, now: number): RateLimitVerdict {
  const freeing = log.times[log.times.length - max]
  const waitMs = freeing === undefined ? windowMs : freeing + windowMs - now
  return { isAllowed: false, limit: max, remaining: 0, resetMs: Math.ceil(waitMs) }
}

/**
 * Sliding logs in this process: exact, and decided in one synchronous step.
 * `clock` gives milliseconds; the default one is monotonic. Past `maxKeys` the key that was used least recently is forgotten.
 */
export function createMemoryRateLimitStore(clock: () => number = monotonic, maxKeys = 500_000) {
  const logs = new Map<string, CallLog>()
  let cursor = logs.entries()

  // A few keys with every call instead of all keys at intervals: no pause, no timer, and it keeps up with any growth.
  const sweep = (now: number) => {
    for (let step = 0; step < 4; step += 1) {
      const { value, done } = cursor.next()
      if (done) {
        cursor = logs.entries()
        return
      }
      const [key, log] = value
      if ((log.times.at(-1) ?? 0) <= now - log.windowMs) logs.delete(key)
    }
  }

  const record = ({ rule, key, log }: Counted, now: number): RateLimitVerdict => {
    log.times.push(now)
    logs.delete(key)
    logs.set(key, log)
    const [oldest = now] = log.times
    return {
      isAllowed: true,
      limit: rule.max,
      remaining: rule.max - log.times.length,
      resetMs: Math.ceil(oldest + rule.windowMs - now),
    }
  }

  const look = (rule: RateLimitRule, now: number): Counted => {
    const key = logKey(rule)
    const log = logs.get(key) ?? { times: [], windowMs: rule.windowMs }
    dropExpired(log, now)
    return { rule, key, log }
  }

  const decide = (rules: readonly RateLimitRule[]): RateLimitVerdict => {
    const now = clock()
    sweep(now)
    const counted = rules.map((rule) => look(rule, now))
    const refusals = counted
      .filter(({ rule, log }) => log.times.length >= rule.max)
      .map(({ rule, log }) => refusal(rule, log, now))
    // The one that lasts longest, so that whoever waits for it passes.
    if (refusals.length > 0) return refusals.reduce((worst, each) => (each.resetMs > worst.resetMs ? each : worst))
    const verdicts = counted.map((each) => record(each, now))
    for (const key of logs.keys()) {
      if (logs.size <= maxKeys) break
      logs.delete(key)
    }
    return scarcest(verdicts)
  }

  return {
    consume: async (rules: readonly RateLimitRule[]) => decide(rules),
    /** How many keys are held, for tests of the bound. */
    size: () => logs.size,
  } satisfies RateLimitStore & { size(): number }
}

const UNLIMITED: RateLimitVerdict = { isAllowed: true, limit: 0, remaining: 0, resetMs: 0 }

/** The verdict with the fewest calls remaining: the one that a client is told of. */
export function scarcest(verdicts: readonly RateLimitVerdict[]): RateLimitVerdict {
  const [first = UNLIMITED, ...others] = verdicts
  return others.reduce((least, each) => (each.remaining < least.remaining ? each : least), first)
}

/** Delivers at once, in this process. A listener that throws is logged and disturbs nobody. */
export function createMemoryBus(log: Pick<Log, 'error'>): EventBus {
  const channels = new Map<string, Set<(message: string) => void>>()
  return {
    publish: (channel, message) => {
      for (const listener of [...(channels.get(channel) ?? [])]) {
        try {
          listener(message)
        } catch (error) {
          log.error({ err: error, channel }, 'A listener of the event bus failed')
        }
      }
    },
    subscribe: (channel, listener) => {
      const listeners = channels.get(channel) ?? new Set()
      // Wrapped, so that one function that subscribes twice is two subscriptions.
      const entry = (message: string) => listener(message)
      channels.set(channel, listeners.add(entry))
      return () => {
        listeners.delete(entry)
        if (listeners.size === 0 && channels.get(channel) === listeners) channels.delete(channel)
      }
    },
  }
}

import type { KeyRing } from '../crypto/key-ring.js'
import { isOfOurFamily } from '../crypto/refresh-tokens.js'
import type { Log, RateLimitStore, RateLimitVerdict } from '../ports.js'
import type { RateLimits as Limits, RateLimit, RateLimitSubject } from '../rate-limits.js'
import type { Audit } from './audit.js'
import type { Client } from './client.js'
import type { Database } from './database.js'

interface Deps {
  /** Null: no limits. */
  limits: Limits | null
  limiter: RateLimitStore
  audit: Audit
  db: Database
  log: Log
  /** Of the families of refresh tokens. */
  keys: KeyRing
}

interface Caller {
  subjectOf: SubjectOf
  isSignedIn: boolean
  /** As presented, good or not. */
  refreshToken?: string | null
}

/** Who is calling, as a kind of limit sees it. */
export type SubjectOf = (by: RateLimitSubject) => string

/** Refusals of one kind are recorded once in this time, so that a flood of calls makes no flood of events. */
const RECORD_EVERY_MS = 60_000

export function createRateLimits({ limits, limiter, audit, db, log, keys }: Deps) {
  const keyed = (name: string, subjectOf: SubjectOf) => (rule: RateLimit, index: number) => ({
    key: JSON.stringify([name, index, rule.by, subjectOf(rule.by)]),
    max: rule.max,
    windowMs: rule.windowMs,
  })

  return {
    /**
     * Counts one call of a root field against its own limits and the general ones. What is limited by session has no other
     * limit, where a refresh token shows the session: else anybody who shares its address could keep it from being renewed
     * and signed out. Null: the call is not limited.
     */
    async consume(field: string, { subjectOf, isSignedIn, refreshToken }: Caller): Promise<RateLimitVerdict | null> {
      if (!limits) return null
      const own = limits[field] ?? []
      const isOfSession =
        refreshToken != null && own.some(({ by }) => by === 'session') && isOfOurFamily(refreshToken, keys.all)
      const general = isSignedIn ? 'authenticated' : 'anonymous'
      const others = isOfSession ? [] : (limits[general] ?? [])
      return limiter.consume([...own.map(keyed(field, subjectOf)), ...others.map(keyed(general, subjectOf))])
    },

    /** Records that a call was refused, though not every single one. */
    async recordRefusal(client: Client, field: string, userId: string | null): Promise<void> {
      try {
        const key = JSON.stringify(['refusal', field, userId ?? client.addressKey])
        const { isAllowed } = await limiter.consume([{ key, max: 1, windowMs: RECORD_EVERY_MS }])
        if (isAllowed) await audit.record(db, client, { type: 'RATE_LIMIT_EXCEEDED', userId, metadata: { field } })
      } catch (error) {
        log.warn({ err: error, field }, 'A refused call could not be recorded')
      }
    },
  }
}

export type RateLimits = ReturnType<typeof createRateLimits>

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
}

/** Who is calling, as a kind of limit sees it. */
export type SubjectOf = (by: RateLimitSubject) => string

/** Refusals of one kind are recorded once in this time, so that a flood of calls makes no flood of events. */
const RECORD_EVERY_MS = 60_000

export function createRateLimits({ limits, limiter, audit, db, log }: Deps) {
  const keyed = (name: string, subjectOf: SubjectOf) => (rule: RateLimit, index: number) => ({
    key: JSON.stringify([name, index, rule.by, subjectOf(rule.by)]),
    max: rule.max,
    windowMs: rule.windowMs,
  })

  return {
    /** Counts one call of a root field against its own limits and the general ones. Null: it is not limited. */
    async consume(field: string, subjectOf: SubjectOf, isSignedIn: boolean): Promise<RateLimitVerdict | null> {
      if (!limits) return null
      const general = isSignedIn ? 'authenticated' : 'anonymous'
      const own = (limits[field] ?? []).map(keyed(field, subjectOf))
      return limiter.consume([...own, ...(limits[general] ?? []).map(keyed(general, subjectOf))])
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

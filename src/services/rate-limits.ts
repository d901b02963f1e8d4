import type { KeyRing } from '../crypto/key-ring.js'
import { ownerOf } from '../crypto/refresh-tokens.js'
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
     * Counts one call of a root field against its own limits and the general ones. Where a limit is by session, a refresh token
     * of ours shows whose call it is, signed in or not: else anybody who shares its address could keep the session from being
     * renewed and signed out. In general it counts for the account and the address, for an old copy of a token shows it as well.
     * Null: the call is not limited.
     */
    async consume(field: string, { subjectOf, isSignedIn, refreshToken }: Caller): Promise<RateLimitVerdict | null> {
      if (!limits) return null
      const own = limits[field] ?? []
      const isBySession = own.some(({ by }) => by === 'session')
      const owner = isBySession && refreshToken != null ? ownerOf(refreshToken, keys.all) : null
      const general = isSignedIn || owner !== null ? 'authenticated' : 'anonymous'
      const whose: SubjectOf = owner === null ? subjectOf : () => `${owner} ${subjectOf('address')}`
      const others = (limits[general] ?? []).map(keyed(general, whose))
      return limiter.consume([...own.map(keyed(field, subjectOf)), ...others])
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

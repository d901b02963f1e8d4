import type { Clock } from '../ports.js'
import type { Database } from './database.js'

export interface SecurityOverview {
  from: Date
  to: Date
  bucketMinutes: number
  buckets: { start: Date; loginsSucceeded: number; loginsFailed: number; lockouts: number; alerts: number }[]
  activeSessions: number
  lockedAccounts: number
  suspiciousIps: { ipAddress: string; failedLogins: number; distinctAccounts: number; lastSeenAt: Date }[]
}

const SUSPICIOUS_FROM = 10
const SUSPICIOUS_LIMIT = 100
const HOUR_MS = 3_600_000

const BUCKETS = `
  SELECT b.start,
         count(*) FILTER (WHERE e.type = 'LOGIN_SUCCEEDED')::int AS "loginsSucceeded",
         count(*) FILTER (WHERE e.type = 'LOGIN_FAILED')::int AS "loginsFailed",
         count(*) FILTER (WHERE e.type = 'ACCOUNT_LOCKED')::int AS lockouts,
         count(*) FILTER (WHERE e.risk_level IN ('HIGH', 'CRITICAL'))::int AS alerts
  FROM generate_series($1::timestamptz, $2::timestamptz - interval '1 millisecond', make_interval(mins => $3::int)) AS b(start)
  LEFT JOIN audit_events e ON e.occurred_at >= b.start AND e.occurred_at < b.start + make_interval(mins => $3::int)
    AND e.occurred_at < $2::timestamptz
  GROUP BY b.start ORDER BY b.start`

const SUSPICIOUS = `
  SELECT ip_address AS "ipAddress", count(*)::int AS "failedLogins", count(DISTINCT user_id)::int AS "distinctAccounts",
         max(occurred_at) AS "lastSeenAt"
  FROM audit_events
  WHERE occurred_at >= $1::timestamptz AND occurred_at < $2::timestamptz AND type = 'LOGIN_FAILED' AND ip_address IS NOT NULL
  GROUP BY ip_address HAVING count(*) >= $3::int ORDER BY count(*) DESC, ip_address LIMIT $4::int`

const COUNTS = `
  SELECT (SELECT count(*)::int FROM sessions
          WHERE ended_at IS NULL AND expires_at > $1::timestamptz AND last_activity_at > $2::timestamptz) AS "activeSessions",
         (SELECT count(DISTINCT user_id)::int FROM login_throttles
          WHERE user_id IS NOT NULL AND locked_until > $1::timestamptz) AS "lockedAccounts"`

/** A width that divides the window into a readable number of buckets. */
const bucketMinutesFor = (hours: number): number => (hours <= 6 ? 15 : hours <= 48 ? 60 : hours <= 24 * 14 ? 360 : 1440)

/** Aggregates for the security dashboard. */
export function createOverview({ db, clock, idleTimeoutMs }: { db: Database; clock: Clock; idleTimeoutMs: number }) {
  return async (hours: number): Promise<SecurityOverview> => {
    const to = clock.now()
    const from = new Date(to.getTime() - hours * HOUR_MS)
    const bucketMinutes = bucketMinutesFor(hours)
    const [buckets, suspiciousIps, [counts]] = await Promise.all([
      db.sql<SecurityOverview['buckets'][number]>(BUCKETS, [from, to, bucketMinutes]),
      db.sql<SecurityOverview['suspiciousIps'][number]>(SUSPICIOUS, [from, to, SUSPICIOUS_FROM, SUSPICIOUS_LIMIT]),
      db.sql<{ activeSessions: number; lockedAccounts: number }>(COUNTS, [to, new Date(to.getTime() - idleTimeoutMs)]),
    ])
    const { activeSessions = 0, lockedAccounts = 0 } = counts ?? {}
    return { from, to, bucketMinutes, buckets, activeSessions, lockedAccounts, suspiciousIps }
  }
}

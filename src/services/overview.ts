import type { Clock } from '../ports.js'
import { boundsOf, findStretches, kindsOf, listsOf } from './audit-stretches.js'
import type { Database } from './database.js'

interface Bucket {
  start: Date
  loginsSucceeded: number
  loginsFailed: number
  lockouts: number
  alerts: number
}

export interface SecurityOverview {
  from: Date
  to: Date
  bucketMinutes: number
  buckets: Bucket[]
  activeSessions: number
  lockedAccounts: number
  suspiciousIps: { ipAddress: string; failedLogins: number; distinctAccounts: number; lastSeenAt: Date }[]
}

const SUSPICIOUS_FROM = 10
const SUSPICIOUS_LIMIT = 100
const MINUTE_MS = 60_000
const HOUR_MS = 3_600_000

/** The figures of each bucket that is not all zero. */
const COUNT_BY_BUCKET = `
  SELECT counted.start, kind.figure, sum(counted.events)::int AS events
  FROM unnest($1::audit_event_type[], $2::risk_level[], $3::boolean[], $4::text[]) AS kind(type, risk_level, success, figure)
  CROSS JOIN unnest($5::bigint[], $6::bigint[]) AS stretch(first, last)
  CROSS JOIN LATERAL (
    SELECT date_bin(make_interval(mins => $9::int), occurred_at, $7::timestamptz) AS start, count(*) AS events
    FROM audit_events
    WHERE audit_events.type = kind.type AND audit_events.risk_level = kind.risk_level
      AND audit_events.success = kind.success AND position BETWEEN stretch.first AND stretch.last
      AND occurred_at >= $7::timestamptz AND occurred_at < $8::timestamptz
    GROUP BY 1
  ) AS counted
  GROUP BY 1, 2`

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

interface Count {
  start: Date
  figure: Figure
  events: number
}
type Figure = Exclude<keyof Bucket, 'start'>

/** The kinds of events that each figure counts. */
const FIGURES: Readonly<Record<Figure, ReturnType<typeof kindsOf>>> = {
  loginsSucceeded: kindsOf({ types: ['LOGIN_SUCCEEDED'] }),
  loginsFailed: kindsOf({ types: ['LOGIN_FAILED'] }),
  lockouts: kindsOf({ types: ['ACCOUNT_LOCKED'] }),
  alerts: kindsOf({ minRiskLevel: 'HIGH' }),
}
const KINDS = Object.entries(FIGURES).flatMap(([figure, kinds]) => kinds.map((kind) => ({ ...kind, figure })))
const KIND_LISTS = [...listsOf(KINDS), KINDS.map(({ figure }) => figure)]

/** A width that divides the window into a readable number of buckets. */
const bucketMinutesFor = (hours: number): number => (hours <= 6 ? 15 : hours <= 48 ? 60 : hours <= 24 * 14 ? 360 : 1440)

/** Aggregates for the security dashboard. */
export function createOverview({ db, clock, idleTimeoutMs }: { db: Database; clock: Clock; idleTimeoutMs: number }) {
  async function bucketsOf(from: Date, to: Date, minutes: number): Promise<Bucket[]> {
    const widthMs = minutes * MINUTE_MS
    const buckets = Array.from({ length: Math.ceil((to.getTime() - from.getTime()) / widthMs) }, (_, index) => ({
      start: new Date(from.getTime() + index * widthMs),
      loginsSucceeded: 0,
      loginsFailed: 0,
      lockouts: 0,
      alerts: 0,
    }))
    const bounds = boundsOf(await findStretches(db.sql, { from, to }, {}))
    const counts = await db.sql<Count>(COUNT_BY_BUCKET, [...KIND_LISTS, ...bounds, from, to, minutes])
    for (const { start, figure, events } of counts) {
      const bucket = buckets[(start.getTime() - from.getTime()) / widthMs]
      if (bucket) bucket[figure] = events
    }
    return buckets
  }

  return async (hours: number): Promise<SecurityOverview> => {
    const to = clock.now()
    const from = new Date(to.getTime() - hours * HOUR_MS)
    const bucketMinutes = bucketMinutesFor(hours)
    const [buckets, suspiciousIps, [counts]] = await Promise.all([
      bucketsOf(from, to, bucketMinutes),
      db.sql<SecurityOverview['suspiciousIps'][number]>(SUSPICIOUS, [from, to, SUSPICIOUS_FROM, SUSPICIOUS_LIMIT]),
      db.sql<{ activeSessions: number; lockedAccounts: number }>(COUNTS, [to, new Date(to.getTime() - idleTimeoutMs)]),
    ])
    const { activeSessions = 0, lockedAccounts = 0 } = counts ?? {}
    return { from, to, bucketMinutes, buckets, activeSessions, lockedAccounts, suspiciousIps }
  }
}

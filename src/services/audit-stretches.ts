// How the index ranges of the audit log are found: kinds of events, and stretches of positions.
import { AUDIT_EVENTS, type AuditEventType, type RiskLevel, riskLevelsFrom } from '../audit-events.js'
import type { Sql } from '../ports.js'

/** From the first moment, until before the second. */
export interface AuditTimes {
  from?: Date | null | undefined
  to?: Date | null | undefined
}

/** Where in the log to read: strictly between the two positions. */
export interface AuditRange {
  after?: bigint | undefined
  before?: bigint | undefined
}

interface KindFilter {
  types?: readonly AuditEventType[] | null | undefined
  minRiskLevel?: RiskLevel | null | undefined
  success?: boolean | null | undefined
}

/** Positions from the first to the last. */
export interface Stretch {
  first: string
  last: string
}

/** As in the index `audit_events_stretch_idx`: 16384 positions a stretch. */
const STRETCH_BITS = 14
/** More of them than that are read as one. */
const MAX_STRETCHES = 8
const MAX_POSITION = 2n ** 63n - 1n
const TYPES = Object.keys(AUDIT_EVENTS) as AuditEventType[]

/**
 * Where events of a time are: stretches of positions that have some, neighbours as one. Positions are in commit order,
 * which is nearly that of time; a server whose clock is wrong only adds stretches.
 */
const STRETCHES = `
  SELECT greatest(min(n) << ${STRETCH_BITS}, $3::bigint)::text AS first,
         least(((max(n) + 1) << ${STRETCH_BITS}) - 1, $4::bigint)::text AS last
  FROM (
    SELECT n, n - row_number() OVER (ORDER BY n) AS island
    FROM generate_series(
      greatest((SELECT min(position) FROM audit_events), $3::bigint) >> ${STRETCH_BITS},
      least((SELECT max(position) FROM audit_events), $4::bigint) >> ${STRETCH_BITS}) AS n
    CROSS JOIN LATERAL (
      SELECT FROM audit_events
      WHERE position >> ${STRETCH_BITS} = n AND occurred_at >= $1::timestamptz AND occurred_at < $2::timestamptz
      ORDER BY position >> ${STRETCH_BITS}, occurred_at LIMIT 1
    ) AS one
  ) AS found
  GROUP BY island ORDER BY min(n)`

interface Kind {
  type: AuditEventType
  riskLevel: RiskLevel
  success: boolean
}

/** Every combination of type, risk and success that a filter lets through: also those that no event has. */
export const kindsOf = ({ types, minRiskLevel, success }: KindFilter): Kind[] =>
  [...new Set(types ?? TYPES)].flatMap((type) =>
    riskLevelsFrom(minRiskLevel ?? 'LOW').flatMap((riskLevel) =>
      (success == null ? [true, false] : [success]).map((outcome) => ({ type, riskLevel, success: outcome })),
    ),
  )

/** Kinds as three lists, which `unnest` reads. */
export const listsOf = (kinds: readonly Kind[]) => [
  kinds.map(({ type }) => type),
  kinds.map(({ riskLevel }) => riskLevel),
  kinds.map(({ success }) => success),
]

/** Where the events of these times are, oldest first; everywhere, when any time will do. */
export async function findStretches(sql: Sql, { from, to }: AuditTimes, range: AuditRange): Promise<Stretch[]> {
  const first = String((range.after ?? -1n) + 1n)
  const last = String((range.before ?? MAX_POSITION) - 1n)
  if (!from && !to) return [{ first, last }]
  const stretches = await sql<Stretch>(STRETCHES, [...timesOf({ from, to }), first, last])
  const [start, end] = [stretches[0], stretches.at(-1)]
  return start && end && stretches.length > MAX_STRETCHES ? [{ first: start.first, last: end.last }] : stretches
}

/** Stretches as two lists, which `unnest` reads. */
export const boundsOf = (stretches: readonly Stretch[]) => [
  stretches.map(({ first }) => first),
  stretches.map(({ last }) => last),
]

/** Times as PostgreSQL has them: without a beginning or an end where there is none. */
export const timesOf = ({ from, to }: AuditTimes) => [from ?? '-infinity', to ?? 'infinity']

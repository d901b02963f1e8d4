import type { AuditEventType, RiskLevel } from '../audit-events.js'
import type { AuditEvent } from '../generated/prisma/client.js'
import type { Sql } from '../ports.js'
import {
  type AuditRange,
  type AuditTimes,
  boundsOf,
  findStretches,
  kindsOf,
  listsOf,
  type Stretch,
  timesOf,
} from './audit-stretches.js'

export interface AuditFilter extends AuditTimes {
  /** Whose events to see at all, whatever else the filter says. */
  ownerId?: string
  types?: readonly AuditEventType[] | null | undefined
  minRiskLevel?: RiskLevel | null | undefined
  success?: boolean | null | undefined
  userId?: string | null | undefined
  sessionId?: string | null | undefined
  ipAddress?: string | null | undefined
}

export type AuditOrder = 'asc' | 'desc'

export interface AuditScan {
  /** How many positions there are to pass. */
  positions: number
  pages: AsyncIterable<AuditPage>
}

export interface AuditPage {
  events: AuditEvent[]
  /** How many positions were passed with it. */
  passed: number
}

/** The columns of an event under the names of its fields; `position` comes as text. */
export const EVENT_COLUMNS = `
  position, id, type, occurred_at AS "occurredAt", success, risk_level AS "riskLevel", user_id AS "userId",
  session_id AS "sessionId", ip_address AS "ipAddress", user_agent AS "userAgent", city, country,
  correlation_id AS "correlationId", metadata`

/** What the driver makes of a row with those columns. */
export type EventRow = Omit<AuditEvent, 'position'> & { position: string }
export const toEvent = (row: EventRow): AuditEvent => ({ ...row, position: BigInt(row.position) })

type Identity = 'user_id' | 'session_id' | 'ip_address'
const IDENTITIES: Readonly<Record<Identity, string>> = { user_id: 'uuid', session_id: 'uuid', ip_address: 'text' }

/**
 * A page of those who match in each kind of events, newest or oldest first. There is an index for every set of identities,
 * and within it each kind is in the order of positions: nothing is read that is not found, whatever is rare and whatever
 * is common. LIMIT and OFFSET inside keep the planner from reading it in any other way.
 */
const pageOf = (identities: readonly Identity[], order: AuditOrder): string => `
  SELECT ${EVENT_COLUMNS} FROM (
    SELECT found.position AS at
    FROM unnest($1::audit_event_type[], $2::risk_level[], $3::boolean[]) AS kind(type, risk_level, success)
    CROSS JOIN unnest($4::bigint[], $5::bigint[]) AS stretch(first, last)
    CROSS JOIN LATERAL (
      SELECT position FROM audit_events
      WHERE audit_events.type = kind.type AND audit_events.risk_level = kind.risk_level
        AND audit_events.success = kind.success
        AND position BETWEEN stretch.first AND stretch.last
        AND occurred_at >= $6::timestamptz AND occurred_at < $7::timestamptz
        ${identities.map((column, index) => `AND ${column} = $${index + 9}::${IDENTITIES[column]}`).join(' ')}
      ORDER BY position ${order} LIMIT $8::int
    ) AS found
    ORDER BY found.position ${order} LIMIT $8::int
  ) AS page
  CROSS JOIN LATERAL (SELECT * FROM audit_events WHERE audit_events.position = page.at OFFSET 0) AS event
  ORDER BY position ${order}`

const SCAN = `
  SELECT ${EVENT_COLUMNS} FROM audit_events
  WHERE position BETWEEN $1::bigint AND $2::bigint AND occurred_at >= $3::timestamptz AND occurred_at < $4::timestamptz
  ORDER BY position LIMIT $5::int`

/** The identities that a filter asks for; null when it asks for two accounts at once. */
function identitiesOf({ ownerId, userId, sessionId, ipAddress }: AuditFilter): [Identity, string][] | null {
  if (ownerId && userId && userId !== ownerId) return null
  const all = { user_id: ownerId ?? userId, session_id: sessionId, ip_address: ipAddress }
  return (Object.keys(IDENTITIES) as Identity[]).flatMap((name) => (all[name] == null ? [] : [[name, all[name]]]))
}

/** The read side of the audit log: as fast with many millions of events as with few. */
export function createAuditPages(sql: Sql) {
  return {
    /** A page of what matches, in commit order. */
    async page(filter: AuditFilter, range: AuditRange, limit: number, order: AuditOrder): Promise<AuditEvent[]> {
      const identities = identitiesOf(filter)
      const kinds = kindsOf(filter)
      if (!identities || kinds.length === 0) return []
      const stretches = await findStretches(sql, filter, range)
      if (stretches.length === 0) return []
      const rows = await sql<EventRow>(
        pageOf(
          identities.map(([name]) => name),
          order,
        ),
        [...listsOf(kinds), ...boundsOf(stretches), ...timesOf(filter), limit, ...identities.map(([, value]) => value)],
      )
      return rows.map(toEvent)
    },

    /** All events of a time that the log has now, oldest first, a page at a time. */
    async scan(times: AuditTimes, head: bigint, size: number): Promise<AuditScan> {
      const stretches = await findStretches(sql, times, { before: head + 1n })
      const positions = stretches.reduce((sum, { first, last }) => sum + Number(BigInt(last) - BigInt(first)) + 1, 0)
      return { positions, pages: pagesOf(stretches, times, size) }
    },
  }

  async function* pagesOf(stretches: readonly Stretch[], times: AuditTimes, size: number): AsyncGenerator<AuditPage> {
    for (const { first, last } of stretches) {
      for (let start = first, isEnd = false; !isEnd; ) {
        const rows = await sql<EventRow>(SCAN, [start, last, ...timesOf(times), size])
        isEnd = rows.length < size
        const next = isEnd ? BigInt(last) + 1n : BigInt(rows.at(-1)?.position ?? last) + 1n
        yield { events: rows.map(toEvent), passed: Number(next - BigInt(start)) }
        start = String(next)
      }
    }
  }
}

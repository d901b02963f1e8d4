import { AUDIT_EVENTS, type AuditEventType, type RiskLevel, riskLevelsFrom } from '../audit-events.js'
import type { AuditEvent, Prisma } from '../generated/prisma/client.js'
import type { Clock } from '../ports.js'
import type { Client } from './client.js'
import type { Database, Transaction } from './database.js'

/** One outcome to record. Metadata never holds a secret. */
export interface AuditEntry {
  type: AuditEventType
  /** Where an attempt at something that usually succeeds did not. */
  success?: boolean
  userId?: string | null
  sessionId?: string | null
  metadata?: Record<string, unknown>
}

export interface AuditFilter {
  /** Whose events to see at all, whatever else the filter says. */
  ownerId?: string
  types?: readonly AuditEventType[] | null | undefined
  minRiskLevel?: RiskLevel | null | undefined
  success?: boolean | null | undefined
  from?: Date | null | undefined
  to?: Date | null | undefined
  userId?: string | null | undefined
  sessionId?: string | null | undefined
  ipAddress?: string | null | undefined
}

/** Where in the log to read: strictly between the two positions. */
export interface AuditRange {
  after?: bigint | undefined
  before?: bigint | undefined
}

const COLUMNS =
  'type, occurred_at, success, risk_level, user_id, session_id, ip_address, user_agent, city, country, correlation_id, metadata'

/**
 * SQL that inserts the events of a JSON text: a statement by itself, or a part of one. With `source`, the events are
 * inserted once for every row of it, and the row's `user_id` and `session_id` stand in where an event names none.
 */
export const insertEvents = (json: string, source?: string): string => `
  INSERT INTO audit_inbox (${COLUMNS})
  SELECT e.type, e.occurred_at, e.success, e.risk_level,
         ${source ? `coalesce(e.user_id, ${source}.user_id), coalesce(e.session_id, ${source}.session_id)` : 'e.user_id, e.session_id'},
         e.ip_address, e.user_agent, e.city, e.country, e.correlation_id, e.metadata
  FROM ${source ? `${source}, ` : ''}jsonb_to_recordset(${json}::text::jsonb) AS e(
    type audit_event_type, occurred_at timestamptz, success boolean, risk_level risk_level, user_id uuid,
    session_id uuid, ip_address text, user_agent text, city text, country text, correlation_id text, metadata jsonb)`

/** A filter of the API as a condition of the database. */
function auditWhere(filter: AuditFilter): Prisma.AuditEventWhereInput {
  const { ownerId, types, minRiskLevel, success, from, to, userId, sessionId, ipAddress } = filter
  return {
    ...(ownerId !== undefined && { AND: { userId: ownerId } }),
    ...(types && { type: { in: [...types] } }),
    ...(minRiskLevel && minRiskLevel !== 'LOW' && { riskLevel: { in: riskLevelsFrom(minRiskLevel) } }),
    ...(typeof success === 'boolean' && { success }),
    ...((from || to) && { occurredAt: { ...(from && { gte: from }), ...(to && { lt: to }) } }),
    ...(userId && { userId }),
    ...(sessionId && { sessionId }),
    ...(ipAddress && { ipAddress }),
  }
}

const NEXT = `
  SELECT position, id, type, occurred_at AS "occurredAt", success, risk_level AS "riskLevel", user_id AS "userId",
         session_id AS "sessionId", ip_address AS "ipAddress", user_agent AS "userAgent", city, country,
         correlation_id AS "correlationId", metadata
  FROM audit_events WHERE position > $1::bigint ORDER BY position LIMIT $2::int`

const BATCH = 1000
const RECORD = insertEvents('$1')
const SEAL = 'SELECT seal_audit_events($1::int) AS sealed'

export function createAudit({ db, clock, onRecorded }: { db: Database; clock: Clock; onRecorded: () => void }) {
  /** The entries as the JSON that `insertEvents` reads. */
  const toJson = (client: Client, entries: readonly AuditEntry[]): string => {
    const { city, country } = client.locate()
    return JSON.stringify(
      entries.map((entry) => ({
        type: entry.type,
        occurred_at: clock.now(),
        success: entry.success ?? AUDIT_EVENTS[entry.type].success,
        risk_level: AUDIT_EVENTS[entry.type].riskLevel,
        user_id: entry.userId,
        session_id: entry.sessionId,
        ip_address: client.ipAddress,
        user_agent: client.userAgent,
        city,
        country,
        correlation_id: client.correlationId,
        metadata: entry.metadata ?? {},
      })),
    )
  }

  return {
    toJson,
    /** Tells the live feed that events were committed. */
    announce: (tx: Transaction) => tx.afterCommit(onRecorded),

    /** Records events in the transaction of the change that they tell of. */
    async record(tx: Transaction, client: Client, ...entries: AuditEntry[]): Promise<void> {
      await tx.sql(RECORD, [toJson(client, entries)])
      await tx.afterCommit(onRecorded)
    },

    /** Gives everything committed so far its place in the log. Returns whether there was anything. */
    async seal(): Promise<boolean> {
      for (let isAny = false; ; isAny = true) {
        const [row] = await db.sql<{ sealed: number }>(SEAL, [BATCH])
        const sealed = row?.sealed ?? 0
        if (sealed < BATCH) return isAny || sealed > 0
      }
    },

    /** The newest position of the log; 0 when it is empty. */
    async head(): Promise<bigint> {
      const [row] = await db.sql<{ head: string }>(
        'SELECT coalesce(max(position), 0)::text AS head FROM audit_events',
        [],
      )
      return BigInt(row?.head ?? 0)
    },

    /** What comes next in the log after a position. */
    async next(after: bigint, limit: number): Promise<AuditEvent[]> {
      const rows = await db.sql<AuditEvent & { position: string }>(NEXT, [after.toString(), limit])
      return rows.map((row) => ({ ...row, position: BigInt(row.position) }))
    },

    /** A page of the log in commit order. */
    page(filter: AuditFilter, range: AuditRange, limit: number, order: 'asc' | 'desc'): Promise<AuditEvent[]> {
      const position = {
        ...(range.after !== undefined && { gt: range.after }),
        ...(range.before !== undefined && { lt: range.before }),
      }
      return db.prisma.auditEvent.findMany({
        where: { AND: [auditWhere(filter), { position }] },
        orderBy: { position: order },
        take: limit,
      })
    },
  }
}

export type Audit = ReturnType<typeof createAudit>

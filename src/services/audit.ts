import { randomUUID } from 'node:crypto'
import { AUDIT_EVENTS, type AuditEventType, outcomeOf, type RiskLevel } from '../audit-events.js'
import type { AuditEvent } from '../generated/prisma/client.js'
import type { Clock } from '../ports.js'
import { ERASURE } from './audit-chain.js'
import { createAuditPages, EVENT_COLUMNS, type EventRow, toEvent } from './audit-pages.js'
import type { Client } from './client.js'
import type { Database, Transaction } from './database.js'
import { createTurns } from './turns.js'

/** One outcome to record. Metadata never holds a secret. */
export interface AuditEntry {
  type: AuditEventType
  /** Where an attempt at something that usually succeeds did not. */
  success?: boolean
  /** Where it is another than that of the type. */
  riskLevel?: RiskLevel
  userId?: string | null
  sessionId?: string | null
  metadata?: Record<string, unknown>
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

const NEXT = `SELECT ${EVENT_COLUMNS}, hash FROM audit_events WHERE position > $1::bigint ORDER BY position LIMIT $2::int`

const BOUNDS = `
  SELECT coalesce(stub.position, 0) AS "removedUpTo",
         greatest((SELECT max(position) FROM audit_events), stub.position, 0) AS head
  FROM (SELECT max(position) AS position FROM audit_checkpoints WHERE kind = 'RETENTION') AS stub`
const SAID = `
  SELECT position FROM audit_events
  WHERE user_id = $1::uuid AND type = 'PROFILE_UPDATED' AND correlation_id = $2::text`
// In the order of an index, each batch from where the one before it has ended: what was erased is not read again.
const ERASE = `
  WITH batch AS (
    SELECT type, risk_level, success, position FROM audit_events
    WHERE user_id = $1::uuid AND position < $2::bigint AND (type, risk_level, success, position) >
      (coalesce($3, enum_first(NULL::audit_event_type)), coalesce($4, enum_first(NULL::risk_level)), coalesce($5, false), $6::bigint)
    ORDER BY type, risk_level, success, position LIMIT 5000),
  erased AS (
    UPDATE audit_events SET ip_address = NULL, user_agent = NULL, city = NULL, country = NULL, metadata = '{}', salt = NULL
    WHERE position IN (SELECT position FROM batch) AND salt IS NOT NULL RETURNING 1)
  SELECT batch.*, (SELECT count(*) FROM erased)::int AS count FROM batch
  ORDER BY type DESC, risk_level DESC, success DESC, position DESC LIMIT 1`
const KNOWS = 'SELECT FROM audit_events WHERE user_id = $1::uuid LIMIT 1'
const BATCH = 1000
/** So much may one viewer ask of the log at once. */
const MAX_READS = 100
const RECORD = insertEvents('$1')
const SEAL = 'SELECT seal_audit_events($1::int) AS sealed'

/** The last event of a batch, and how many of the batch were erased. */
interface Erased {
  type: AuditEventType
  risk_level: RiskLevel
  success: boolean
  position: string
  count: number
}

export function createAudit({ db, clock, onRecorded }: { db: Database; clock: Clock; onRecorded: () => void }) {
  /** The entries as the JSON that `insertEvents` reads. */
  const toJson = (client: Client, entries: readonly AuditEntry[]): string => {
    const { city, country } = client.locate()
    return JSON.stringify(
      entries.map(({ type, success = AUDIT_EVENTS[type].success, ...entry }) => ({
        type,
        occurred_at: clock.now(),
        success,
        risk_level: entry.riskLevel ?? outcomeOf(type, success).riskLevel,
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

  /** Records events in the transaction of the change that they tell of. */
  async function record(tx: Transaction, client: Client, ...entries: AuditEntry[]): Promise<void> {
    await tx.sql(RECORD, [toJson(client, entries)])
    await tx.afterCommit(onRecorded)
  }

  /** Gives everything committed so far its place in the log. */
  async function seal(): Promise<void> {
    for (let sealed = BATCH; sealed === BATCH; ) {
      const [row] = await db.sql<{ sealed: number }>(SEAL, [BATCH])
      sealed = row?.sealed ?? 0
    }
  }

  async function eraseBatch(userId: string, until?: { position: string }, after?: Erased): Promise<Erased | undefined> {
    const { type, risk_level, success, position = '0' } = after ?? {}
    const [last] = await db.sql<Erased>(ERASE, [userId, until?.position, type, risk_level, success, position])
    return last
  }

  return {
    ...createAuditPages(db.sql),
    toJson,
    /** Tells the live feed that events were committed. */
    announce: (tx: Transaction) => tx.afterCommit(onRecorded),

    record,
    seal,
    /** What a viewer asks of the log: else a hundred things at once would have all connections to the database. */
    inTurn: createTurns(MAX_READS),

    /**
     * Erases what is personal in the events of an account: address, user agent, place and metadata. The chain still
     * holds: it has only a salted commitment to them. Returns how many events that were; throws where there are none.
     * Broken off, it can be done again.
     */
    async erase(client: Client, userId: string): Promise<number> {
      await seal()
      if ((await db.sql(KNOWS, [userId])).length === 0) throw new Error(`There is no event of an account "${userId}"`)
      // First the log says so, in what nobody erases: an event that was erased behind its back does not verify.
      const correlationId = `${ERASURE}${randomUUID()}`
      const entry: AuditEntry = { type: 'PROFILE_UPDATED', userId, metadata: { fields: ['auditLog'] } }
      await record(db, { ...client, correlationId }, entry)
      await seal()
      const [said] = await db.sql<{ position: string }>(SAID, [userId, correlationId])
      let count = 0
      for (let batch = await eraseBatch(userId, said); batch; batch = await eraseBatch(userId, said, batch))
        count += batch.count
      return count
    },

    /** The newest position of the log, 0 when it is empty, and the last one that retention has removed. */
    async bounds(): Promise<{ removedUpTo: bigint; head: bigint }> {
      const [row] = await db.sql<{ removedUpTo: string; head: string }>(BOUNDS, [])
      return { removedUpTo: BigInt(row?.removedUpTo ?? 0), head: BigInt(row?.head ?? 0) }
    },

    /** What comes next in the log after a position. */
    async next(after: bigint, limit: number): Promise<AuditEvent[]> {
      return (await db.sql<EventRow>(NEXT, [after.toString(), limit])).map(toEvent)
    },
  }
}

export type Audit = ReturnType<typeof createAudit>

import { createHash } from 'node:crypto'
import type { AuditBreakReason, AuditEventType, RiskLevel } from '../audit-events.js'
import { isEqual } from '../crypto/secrets.js'
import type { Sql } from '../ports.js'

/** A place in the chain: the position of an event, and the hash of everything up to it. */
export interface Link {
  position: bigint
  hash: Uint8Array
}

/** The place of an event that was verified. */
export interface EventLink extends Link {
  /** When it happened, as it was hashed; since 1970. */
  occurredAtMs: number
}

/** Where the chain does not hold. */
export interface Break {
  position: bigint
  reason: AuditBreakReason
}

/** Before the first event. */
export const GENESIS: Link = { position: 0n, hash: new Uint8Array(32) }

/** An event as it was hashed: numbers and JSON as the texts that the database makes of them. */
interface ChainedRow {
  position: string
  id: string
  type: AuditEventType
  occurredAtMs: string
  success: boolean
  riskLevel: RiskLevel
  userId: string | null
  sessionId: string | null
  ipAddress: string | null
  userAgent: string | null
  city: string | null
  country: string | null
  correlationId: string | null
  metadata: string
  salt: Uint8Array | null
  commitment: Uint8Array
  hash: Uint8Array
  /** Whether a later event says that it was erased. */
  isErased: boolean
}

/** How the correlation id begins of an event that says that those of its account before it were erased. */
export const ERASURE = 'audit-erase-'

/** So few that requests get their turn in between. */
const PAGE = 500
const ROWS = `
  SELECT position, id, type, (extract(epoch FROM occurred_at) * 1000)::bigint AS "occurredAtMs", success,
         risk_level AS "riskLevel", user_id AS "userId", session_id AS "sessionId", ip_address AS "ipAddress",
         user_agent AS "userAgent", city, country, correlation_id AS "correlationId", metadata::text, salt, commitment, hash,
         salt IS NULL AND EXISTS (
           SELECT FROM audit_events said WHERE said.user_id = e.user_id AND said.type = 'PROFILE_UPDATED'
             AND said.position > e.position AND starts_with(said.correlation_id, '${ERASURE}')
             AND said.ip_address IS NULL) AS "isErased"
  FROM audit_events e WHERE position > $1::bigint AND position <= $2::bigint ORDER BY position LIMIT ${PAGE}`

const text = (value: string | null) => (value === null ? 'null' : JSON.stringify(value))
const sha256 = (prefix: Uint8Array, content: string) => createHash('sha256').update(prefix).update(content).digest()

/** What is personal in an event, as JSON. */
const personalOf = (row: ChainedRow): string =>
  `[${text(row.ipAddress)}, ${text(row.userAgent)}, ${text(row.city)}, ${text(row.country)}, ${row.metadata}]`

/** Everything else, as JSON; the commitment stands for what is personal. */
const contentOf = (row: ChainedRow): string =>
  `[${row.position}, ${text(row.id)}, ${text(row.type)}, ${row.occurredAtMs}, ${row.success}, ${text(row.riskLevel)}, ` +
  `${text(row.userId)}, ${text(row.sessionId)}, ${text(row.correlationId)}, "${Buffer.from(row.commitment).toString('hex')}"]`

const ERASED = '[null, null, null, null, {}]'

/** Whether what is personal is what was committed to, or was erased altogether, and not in secret. */
const isPersonalIntact = (row: ChainedRow): boolean =>
  row.salt ? isEqual(sha256(row.salt, personalOf(row)), row.commitment) : row.isErased && personalOf(row) === ERASED

function breakOf(row: ChainedRow, { position, hash }: Link): AuditBreakReason | null {
  if (BigInt(row.position) !== position + 1n) return 'MISSING'
  if (!isEqual(sha256(hash, contentOf(row)), row.hash)) return 'CHANGED'
  return isPersonalIntact(row) ? null : 'PERSONAL_DATA_CHANGED'
}

/**
 * Computes the chain anew, from a link that is taken for true up to a position. Yields the links page by page, so that
 * memory stays the same however long the log is; ends with the break, if there is one. The rules: docs/audit-log.md.
 */
export async function* walkChain(sql: Sql, from: Link, to: bigint): AsyncGenerator<readonly EventLink[], Break | null> {
  let link: Link = from
  while (link.position < to) {
    const rows = await sql<ChainedRow>(ROWS, [link.position.toString(), to.toString()])
    const links: EventLink[] = []
    for (const row of rows) {
      const reason = breakOf(row, link)
      if (reason) {
        yield links
        return { position: link.position + 1n, reason }
      }
      const next = { position: BigInt(row.position), hash: row.hash, occurredAtMs: Number(row.occurredAtMs) }
      links.push(next)
      link = next
    }
    yield links
    if (rows.length === 0) return { position: link.position + 1n, reason: 'MISSING' }
  }
  return null
}

// What the rules ask of the audit log: one statement each, for all events between two positions.
// $1, $2: after and up to which position; $3: what is older is not judged; $4: the threshold; $5: its window in seconds.
// Every look-back has a bound in rows, and goes by an index that holds nothing but what it looks for.
import type { AuditEventType } from '../audit-events.js'
import type { DetectionRule } from '../detection-rules.js'

/** What a rule has found. */
export interface Finding {
  /** Of the event that is to blame. */
  position: string
  /** The account that it is about; null where it is about an address. */
  userId: string | null
  /** What is raised only once in a while. */
  subject: string
  /** Until when, if it is not for the rule's window. */
  quietUntil: Date | null
  metadata: Record<string, unknown>
}

interface Question {
  /** What it judges. */
  types: readonly AuditEventType[]
  sql: string
}

const ROWS = 500

const judged = (types: readonly AuditEventType[]) => `
  SELECT *, audit_network(ip_address) AS network, metadata ->> 'reason' AS reason FROM audit_events
  WHERE position > $1::bigint AND position <= $2::bigint AND occurred_at >= $3::timestamptz
    AND type IN (${types.map((type) => `'${type}'`).join(', ')})`

/** The newest events of a type up to `e`, for the account or from the address of that. */
const earlier = (type: AuditEventType, by: 'user_id' | 'network') => `
  SELECT p.position, p.user_id, p.occurred_at, p.ip_address, p.city, p.country, p.metadata, p.metadata ->> 'reason' AS reason
  FROM audit_events p
  WHERE ${by === 'network' ? 'audit_network(p.ip_address) = e.network' : 'p.user_id = e.user_id'} AND p.type = '${type}'
    AND p.position <= e.position
  ORDER BY p.position DESC LIMIT ${ROWS}`

const IN_WINDOW = 'p.occurred_at > e.occurred_at - make_interval(secs => $5::float8)'

const finding = (userId: string, subject: string, metadata: string, quietUntil = 'NULL::timestamptz') => `
  SELECT e.position::text AS position, ${userId}::text AS "userId", ${subject}::text AS subject,
         ${quietUntil} AS "quietUntil", jsonb_build_object(${metadata}) AS metadata`

const question = (types: readonly AuditEventType[], toSql: (events: string) => string): Question => ({
  types,
  sql: toSql(`(${judged(types)}) AS e`),
})

export const QUESTIONS: Readonly<Record<DetectionRule, Question>> = {
  // Where no earlier country is known, none is new.
  NEW_COUNTRY: question(
    ['LOGIN_SUCCEEDED'],
    (events) => `
      ${finding('e.user_id', `e.user_id || ' ' || e.country`, `'country', e.country`)}
      FROM ${events}, LATERAL (
        SELECT count(*) AS logins, coalesce(bool_or(p.country = e.country), false) AS "isKnown"
        FROM (${earlier('LOGIN_SUCCEEDED', 'user_id')}) AS p
        WHERE p.position < e.position AND p.country IS NOT NULL AND ${IN_WINDOW}) AS before
      WHERE e.country IS NOT NULL AND before.logins >= $4::int AND NOT before."isKnown"`,
  ),

  // How far it is, the statement cannot know: see `judgeTravel`.
  IMPOSSIBLE_TRAVEL: question(
    ['LOGIN_SUCCEEDED'],
    (events) => `
      ${finding(
        'e.user_id',
        'e.user_id',
        `'to', e.ip_address, 'from', p.ip_address, 'city', p.city, 'country', p.country, 'limit', $4::int,
         'seconds', abs(extract(epoch FROM e.occurred_at - p.occurred_at))`,
      )}
      FROM ${events}, LATERAL (
        SELECT * FROM (${earlier('LOGIN_SUCCEEDED', 'user_id')}) AS p
        WHERE p.position < e.position ORDER BY p.position DESC LIMIT 1) AS p
      WHERE ${IN_WINDOW} AND p.ip_address <> e.ip_address`,
  ),

  // What strangers try elsewhere makes no sign-in suspicious that comes from where the account has signed in before.
  SUCCESS_AFTER_FAILURES: question(
    ['LOGIN_SUCCEEDED'],
    (events) => `
      ${finding('e.user_id', 'e.user_id', `'failures', failed.count`)}
      FROM ${events}, LATERAL (
        SELECT coalesce(bool_or(audit_network(p.ip_address) = e.network), false) AS "isFamiliar"
        FROM (${earlier('LOGIN_SUCCEEDED', 'user_id')}) AS p WHERE p.position < e.position) AS place, LATERAL (
        SELECT count(*)::int AS count FROM (${earlier('LOGIN_FAILED', 'user_id')}) AS p
        WHERE ${IN_WINDOW} AND p.reason IN ('WRONG_PASSWORD', 'LOCKED')
          AND (NOT place."isFamiliar" OR audit_network(p.ip_address) = e.network)) AS failed
      WHERE failed.count >= $4::int`,
  ),

  // The log does not say which identifier was unknown, so each failure counts, until the identifier is locked.
  STUFFING: question(
    ['LOGIN_FAILED'],
    (events) => `
      ${finding('NULL', 'e.network', `'accounts', failed.accounts`)}
      FROM ${events}, LATERAL (
        SELECT (count(DISTINCT p.user_id) + count(*) FILTER (WHERE p.reason = 'UNKNOWN_ACCOUNT'))::int AS accounts
        FROM (${earlier('LOGIN_FAILED', 'network')}) AS p WHERE ${IN_WINDOW}) AS failed
      WHERE failed.accounts >= $4::int`,
  ),

  MANY_ADDRESSES: question(
    ['LOGIN_SUCCEEDED', 'LOGIN_FAILED'],
    (events) => `
      ${finding('e.user_id', 'e.user_id', `'addresses', tried.addresses`)}
      FROM ${events}, LATERAL (
        SELECT count(DISTINCT audit_network(p.ip_address))::int AS addresses
        FROM ((${earlier('LOGIN_FAILED', 'user_id')}) UNION ALL (${earlier('LOGIN_SUCCEEDED', 'user_id')})) AS p
        WHERE ${IN_WINDOW}) AS tried
      WHERE tried.addresses >= $4::int`,
  ),

  // Once for each lock, however long it holds.
  LOGIN_AT_LOCKOUT: question(
    ['LOGIN_FAILED'],
    (events) => `
      ${finding(
        'e.user_id',
        `e.user_id || ' ' || lock.position`,
        `'attempts', tried.attempts`,
        `(lock.metadata ->> 'lockedUntil')::timestamptz`,
      )}
      FROM ${events}, LATERAL (
        SELECT * FROM (${earlier('ACCOUNT_LOCKED', 'user_id')}) AS p ORDER BY p.position DESC LIMIT 1) AS lock, LATERAL (
        SELECT count(*)::int AS attempts FROM (${earlier('LOGIN_FAILED', 'user_id')}) AS p
        WHERE ${IN_WINDOW} AND p.position > lock.position AND p.reason = 'LOCKED') AS tried
      WHERE e.reason = 'LOCKED' AND tried.attempts >= $4::int`,
  ),

  // For one account, or from one address for many. The log does not say which address was unknown: each counts.
  RESET_BURST: question(
    ['PASSWORD_RESET_REQUESTED'],
    (events) => `
      ${finding('e.user_id', 'e.user_id', `'requests', asked.requests`)}
      FROM ${events}, LATERAL (
        SELECT count(*)::int AS requests FROM (${earlier('PASSWORD_RESET_REQUESTED', 'user_id')}) AS p
        WHERE ${IN_WINDOW}) AS asked
      WHERE asked.requests >= $4::int
      UNION ALL ${finding('NULL', 'e.network', `'accounts', asked.accounts`)}
      FROM ${events}, LATERAL (
        SELECT (count(DISTINCT p.user_id) + count(*) FILTER (WHERE p.user_id IS NULL))::int AS accounts
        FROM (${earlier('PASSWORD_RESET_REQUESTED', 'network')}) AS p WHERE ${IN_WINDOW}) AS asked
      WHERE asked.accounts >= $4::int`,
  ),
}

/**
 * How far the log was judged, and how far it goes. One row, if no other process judges at the moment; until the end of the
 * transaction none does.
 */
export const TAKE = `
  SELECT position::text AS position,
         (SELECT greatest(d.position, max(e.position)) FROM audit_events e)::text AS head
  FROM audit_detector d FOR UPDATE SKIP LOCKED`
export const ADVANCE = 'UPDATE audit_detector SET position = $1::bigint'

/** The next of some types. */
export const NEXT = `
  SELECT position::text AS position, id::text AS id, type::text AS type, occurred_at AS "occurredAt", user_id::text AS "userId",
         session_id::text AS "sessionId", ip_address AS "ipAddress", user_agent AS "userAgent", city, country,
         correlation_id AS "correlationId"
  FROM audit_events
  WHERE position > $1::bigint AND position <= $2::bigint AND type = ANY(string_to_array($3::text, ',')::audit_event_type[])
  ORDER BY position LIMIT $4::int`

/** The last position before what is not older than $2. */
export const BEFORE = `
  SELECT greatest($1::bigint, coalesce(
    (SELECT position - 1 FROM audit_events WHERE occurred_at >= $2::timestamptz ORDER BY occurred_at LIMIT 1),
    (SELECT max(position) FROM audit_events)))::text AS position`

/** One row, unless the rule has raised the subject lately. */
export const RAISE = `
  INSERT INTO audit_detections AS d (rule, subject, quiet_until) VALUES ($1::text, $2::text, $3::timestamptz)
  ON CONFLICT (rule, subject) DO UPDATE SET quiet_until = excluded.quiet_until WHERE d.quiet_until <= $4::timestamptz
  RETURNING 1 AS raised`
export const FORGET = 'DELETE FROM audit_detections WHERE quiet_until < $1::timestamptz'

/** Those of the sessions that were opened on a new device. */
export const ON_NEW_DEVICES = `
  SELECT session_id::text AS "sessionId" FROM audit_events
  WHERE session_id = ANY(string_to_array($1::text, ',')::uuid[]) AND type = 'NEW_DEVICE'`

import { createHash } from 'node:crypto'
import type pg from 'pg'

const md5 = (text: string): string =>
  createHash('md5')
    .update(text)
    .digest('hex')
    .replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')

export const DAYS = 360

/** What the log was filled with, from the most common to what it does not have. */
export const FILLED = {
  /** Two events of five; an ordinary user's three hundred; one event. */
  users: [md5('user1'), md5('user9000'), md5('userOnce')],
  /** One event of a hundred, with an address to match; what no session has. */
  sessions: [md5('session1/20'), md5('session9000/900')],
  /** One event of five, none of them the busy user's; one of ten, all of them his; some thousands; one. */
  addresses: ['203.0.113.9', '192.0.2.1', '198.51.7.3', '2001:db8::1'],
  nobody: '00000000-0000-4000-8000-000000000000',
  nowhere: '192.0.2.250',
} as const

const COLUMNS = [
  ...['position', 'id', 'type', 'occurred_at', 'success', 'risk_level', 'user_id', 'session_id', 'ip_address'],
  ...['user_agent', 'city', 'country', 'correlation_id', 'metadata', 'commitment', 'hash'],
]

/**
 * Positions $1 to $2 of $3, a year's worth: few users have most events, types are as common as in life, some are rare, and
 * one clock has gone wrong now and then. PASSWORD_FOUND_IN_BREACH never happened.
 */
const FILL = `
  WITH raw AS (
    SELECT i, random() AS a, random() AS b, random() AS c, random() AS d FROM generate_series($1::bigint, $2::bigint) AS i
  ), event AS (
    SELECT *,
      CASE WHEN i = $3::bigint / 2 THEN 'Once' WHEN a < 0.03 THEN NULL WHEN a < 0.43 THEN '1'
           ELSE (2 + floor(20000 * power(b, 3)))::text END AS who,
      CASE WHEN i % 500000 = 7 THEN 'SUSPICIOUS_LOGIN' WHEN c < 0.50 THEN 'TOKEN_REFRESHED' WHEN c < 0.62 THEN 'LOGIN_SUCCEEDED'
           WHEN c < 0.74 THEN 'SESSION_CREATED' WHEN c < 0.86 THEN 'LOGIN_FAILED' WHEN c < 0.92 THEN 'LOGGED_OUT'
           WHEN c < 0.94 THEN 'NEW_DEVICE' WHEN c < 0.955 THEN 'RATE_LIMIT_EXCEEDED' WHEN c < 0.965 THEN 'SESSION_TERMINATED'
           WHEN c < 0.970 THEN 'PASSWORD_CHANGED' WHEN c < 0.975 THEN 'PROFILE_UPDATED' WHEN c < 0.980 THEN 'REGISTERED'
           WHEN c < 0.985 THEN 'EMAIL_VERIFICATION_SENT' WHEN c < 0.990 THEN 'EMAIL_VERIFIED'
           WHEN c < 0.993 THEN 'PASSWORD_RESET_REQUESTED' WHEN c < 0.995 THEN 'ACCOUNT_LOCKED' WHEN c < 0.997 THEN 'ACCOUNT_UNLOCKED'
           WHEN c < 0.999 THEN 'PASSWORD_CHANGE_FAILED' WHEN c < 0.9999 THEN 'PASSWORD_RESET_COMPLETED'
           ELSE 'TOKEN_REUSE_DETECTED' END AS type
    FROM raw
  )
  INSERT INTO audit_events (${COLUMNS.join(', ')})
  SELECT i, gen_random_uuid(), type::audit_event_type,
    now() - ($3::bigint - i) * (interval '${DAYS} days' / $3::bigint) + (d - 0.5) * interval '4 seconds'
      + CASE WHEN i % 1000000 = 77 THEN interval '-40 days' WHEN i % 100000 = 50 THEN interval '1 hour' ELSE interval '0' END,
    type NOT IN ('LOGIN_FAILED', 'RATE_LIMIT_EXCEEDED', 'ACCOUNT_LOCKED', 'PASSWORD_CHANGE_FAILED', 'TOKEN_REUSE_DETECTED',
                 'SUSPICIOUS_LOGIN') AND d > 0.00002,
    CASE WHEN type IN ('ACCOUNT_LOCKED', 'TOKEN_REUSE_DETECTED', 'SUSPICIOUS_LOGIN', 'PASSWORD_RESET_COMPLETED') THEN 'HIGH'
         WHEN type IN ('LOGIN_FAILED', 'PASSWORD_CHANGED', 'PASSWORD_CHANGE_FAILED', 'PASSWORD_RESET_REQUESTED',
                       'SESSION_TERMINATED', 'NEW_DEVICE', 'RATE_LIMIT_EXCEEDED') THEN 'MEDIUM'
         ELSE 'LOW' END::risk_level,
    md5('user' || who)::uuid,
    CASE WHEN type NOT IN ('LOGIN_FAILED', 'ACCOUNT_LOCKED', 'REGISTERED', 'EMAIL_VERIFICATION_SENT')
         THEN md5('session' || who || '/' || CASE WHEN who = '1' THEN i * 40 / $3::bigint ELSE i * 5000 / $3::bigint END)::uuid END,
    CASE WHEN d < 0.03 THEN NULL WHEN who = '1' THEN '192.0.2.' || floor(b * 4) WHEN d < 0.35 THEN '203.0.113.9'
         WHEN d < 0.6 THEN '198.51.' || floor(b * 100) || '.' || floor(200 * power(d, 2))
         ELSE '2001:db8:' || to_hex((c * 65535)::int) || ':' || to_hex((b * 60000)::int) || '::' || to_hex((d * 100)::int) END,
    'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0', 'Vienna', 'AT', md5(i::text)::uuid::text,
    CASE WHEN type = 'LOGIN_FAILED' THEN '{"reason": "WRONG_PASSWORD"}'::jsonb ELSE '{}' END,
    '', ''
  FROM event`

const CHUNK = 500_000
const INDEXES = `
  SELECT indexname AS name, indexdef AS definition FROM pg_indexes
  WHERE tablename = 'audit_events' AND indexdef NOT LIKE 'CREATE UNIQUE%'`

/** Fills an empty log with so many events, as a year of use would. Its indexes are made anew at the end: that is faster. */
export async function fillAuditLog(client: pg.Client, count: number): Promise<void> {
  const { rows: indexes } = await client.query<{ name: string; definition: string }>(INDEXES)
  for (const { name } of indexes) await client.query(`DROP INDEX "${name}"`)
  await client.query('SELECT setseed(0.5)')
  for (let first = 1; first <= count; first += CHUNK) {
    await client.query(FILL, [first, Math.min(count, first + CHUNK - 1), count])
  }
  await client.query(`SET maintenance_work_mem = '512MB'`)
  for (const { definition } of indexes) await client.query(definition)
  await client.query('VACUUM ANALYZE audit_events')
}

/** A thousand new events like those that there are, which wait to be sealed. */
export const ADD_TO_INBOX = `
  INSERT INTO audit_inbox (type, occurred_at, success, risk_level, user_id, session_id, ip_address, user_agent, city, country,
                           correlation_id, metadata)
  SELECT type, now(), success, risk_level, user_id, session_id, ip_address, user_agent, city, country, correlation_id, metadata
  FROM (SELECT (1 + random() * ($1::bigint - 1))::bigint AS position FROM generate_series(1, 1200)) AS chosen
  JOIN audit_events USING (position) LIMIT 1000`

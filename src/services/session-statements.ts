// The statements of sessions.ts: one round trip each.
import { insertEvents } from './audit.js'
import { SESSION_COLUMNS, USER_COLUMNS } from './records.js'

/** The oldest sessions of an account, but for so many. What somebody else ends meanwhile, which this waits for, has ended once. */
const endSurplus = (userId: string, now: string, idleSince: string, kept: string) => `
    UPDATE sessions SET ended_at = ${now}::timestamptz, end_reason = 'TERMINATED'
    WHERE ended_at IS NULL AND id IN (
      SELECT id FROM sessions
      WHERE user_id = ${userId} AND ended_at IS NULL AND expires_at > ${now}::timestamptz
        AND last_activity_at > ${idleSince}::timestamptz
      ORDER BY created_at DESC, id DESC OFFSET ${kept}
    )
    RETURNING id AS session_id, user_id`

/**
 * Opens a session, unless the guard does not hold, and ends the oldest ones above the cap: as they were when it began to wait
 * for the account. It says whether somebody else, who may have opened another session, has changed the account since then.
 */
export const OPEN = `
  WITH account AS (
    SELECT id, xmin FROM users
    WHERE id = $2::uuid AND is_active AND ($21::text IS NULL OR password_hash = $21::text)
    FOR NO KEY UPDATE
  ), throttle AS (
    SELECT locked_until FROM login_throttles WHERE key = $20::text AND locked_until > $14::timestamptz
  ), opened AS (
    INSERT INTO sessions (id, user_id, device_name, device_type, browser, os, user_agent, device_fingerprint, ip_address,
                          city, country, remember_me, amr, expires_at, created_at, last_activity_at)
    SELECT $1::uuid, account.id, $3::text, $4::text::device_type, $5::text, $6::text, $7::text, $8::text, $9::text,
           $10::text, $11::text, $12::boolean, string_to_array($13::text, ','), $15::timestamptz, $14::timestamptz,
           $14::timestamptz
    FROM account WHERE NOT EXISTS (SELECT FROM throttle)
    RETURNING id AS session_id, user_id
  ), token AS (
    INSERT INTO refresh_tokens (hash, session_id, state, created_at)
    SELECT $16::bytea, session_id, 'LIVE', $14::timestamptz FROM opened
  ), seen AS (
    UPDATE users SET last_login_at = $14::timestamptz FROM opened WHERE users.id = opened.user_id
  ), cleared AS (
    DELETE FROM login_throttles WHERE key = $20::text AND EXISTS (SELECT FROM opened)
  ), ended AS (${endSurplus('(SELECT user_id FROM opened)', '$14', '$22', '$17::int - 1')}
  ), logged AS (${insertEvents('$18', 'opened')}), evicted AS (${insertEvents('$19', 'ended')})
  SELECT EXISTS (SELECT FROM opened) AS "isOpen", (SELECT locked_until FROM throttle) AS "lockedUntil",
         ARRAY(SELECT session_id::text FROM ended) AS "endedIds",
         (SELECT xmin FROM account) IS DISTINCT FROM (SELECT xmin FROM users WHERE id = $2::uuid) AS "isOvertaken",
         (SELECT row_to_json(owner) FROM (SELECT ${USER_COLUMNS} FROM users u WHERE u.id = $2::uuid) AS owner) AS "user"`

/** Ends the oldest sessions above the cap once more, for whoever was overtaken. */
export const EVICT = `
  WITH ended AS (${endSurplus('$1::uuid', '$2', '$3', '$4::int')}
  ), evicted AS (${insertEvents('$5', 'ended')})
  SELECT session_id AS id FROM ended`

/**
 * Ends those of an account's sessions that are selected, and logs it of those that were active. Without a list also those
 * that are idle only by the present setting: with another one they would live again.
 */
export const END = `
  WITH ended AS (
    UPDATE sessions SET
      ended_at = least($1::timestamptz, last_activity_at
        + make_interval(secs => extract(epoch FROM $1::timestamptz - $4::timestamptz)::float8)),
      end_reason = CASE WHEN last_activity_at > $4::timestamptz THEN $2::text::session_end_reason ELSE 'EXPIRED' END
    WHERE user_id = $3::uuid AND ended_at IS NULL AND expires_at > $1::timestamptz
      AND ($5::text IS NULL OR (last_activity_at > $4::timestamptz AND id = ANY(string_to_array($5::text, ',')::uuid[])))
      AND ($6::uuid IS NULL OR id <> $6::uuid)
    RETURNING id AS session_id, user_id, last_activity_at > $4::timestamptz AS was_active
  ), active AS (SELECT session_id, user_id FROM ended WHERE was_active), logged AS (${insertEvents('$7', 'active')})
  SELECT session_id AS id, was_active AS "wasActive" FROM ended`

/** Pages of the lists of several accounts, each row with the number of its page. */
const list = (order: 'ASC' | 'DESC') => `
  SELECT page.number AS "page", s.*
  FROM jsonb_to_recordset($1::text::jsonb) AS page(
    number int, "userId" uuid, "includeEnded" boolean,
    "afterAt" timestamptz, "afterId" uuid, "beforeAt" timestamptz, "beforeId" uuid, size int
  ), LATERAL (
    SELECT ${SESSION_COLUMNS} FROM sessions s
    WHERE s.user_id = page."userId"
      AND (page."includeEnded" OR (
        s.ended_at IS NULL AND s.expires_at > $2::timestamptz AND s.last_activity_at > $3::timestamptz))
      AND (page."afterAt" IS NULL OR (s.last_activity_at, s.id) < (page."afterAt", page."afterId"))
      AND (page."beforeAt" IS NULL OR (s.last_activity_at, s.id) > (page."beforeAt", page."beforeId"))
    ORDER BY s.last_activity_at ${order}, s.id ${order} LIMIT page.size
  ) s
  ORDER BY page.number, s."lastActivityAt" ${order}, s.id ${order}`
export const NEWEST_FIRST = list('DESC')
export const OLDEST_FIRST = list('ASC')

/**
 * Before the sessions of an account, as everywhere: two transactions never wait for each other. With the owner of a token,
 * where a session takes the place of that of another account; in one order, for two may change places.
 */
export const LOCK_ACCOUNTS = `
  SELECT FROM users WHERE id = $1::uuid OR id = (
    SELECT s.user_id FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id WHERE t.hash = $2::bytea)
  ORDER BY id FOR NO KEY UPDATE`

/** Likewise, for whoever only writes rows that refer to the account, as a mail with a link does: waits for a reset, and no more. */
export const SHARE_ACCOUNT = 'SELECT FROM users WHERE id = $1::uuid FOR KEY SHARE'

/** Before the tokens of a session, as everywhere: two transactions never wait for each other. */
export const LOCK = 'SELECT FROM sessions WHERE id = $1::uuid FOR NO KEY UPDATE'

export const TOUCH = `
  UPDATE sessions SET last_activity_at = $2::timestamptz
  WHERE id = $1::uuid AND ended_at IS NULL AND last_activity_at < $3::timestamptz`

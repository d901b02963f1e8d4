import type pg from 'pg'

const COUNT = 100_000

const SESSION_COLUMNS =
  'id, user_id, device_name, device_type, device_fingerprint, remember_me, amr, created_at, last_activity_at, expires_at, ended_at, end_reason'

/** A hundred thousand accounts with what belongs to them, a tenth of it past; the last ones wait for verification. */
const STATEMENTS = [
  // What is referred to is there: looking for it once for each row takes a third of the time.
  `SET session_replication_role = 'replica'`,
  `INSERT INTO users (id, email, email_normalized, username, username_normalized, password_hash, password_changed_at,
                      email_verified_at, pending_until, last_login_at, created_at)
   SELECT gen_random_uuid(), 'crowd' || i || '@example.net', 'crowd' || i || '@example.net', 'crowd' || i, 'crowd' || i, 'x',
          now(), now(), CASE WHEN i % 20 = 0 THEN now() + interval '1 day' END, now(), now() - i * interval '1 second'
   FROM generate_series(1, ${COUNT}) AS i`,
  `INSERT INTO sessions (${SESSION_COLUMNS})
   SELECT gen_random_uuid(), id, 'Firefox on Linux', 'DESKTOP', md5(id::text), false, '{pwd}', created_at, created_at,
          created_at + interval '7 days', CASE WHEN random() < 0.1 THEN now() END,
          CASE WHEN random() < 0.1 THEN 'LOGOUT'::session_end_reason END
   FROM users WHERE email LIKE 'crowd%'`,
  `INSERT INTO refresh_tokens (hash, session_id, state, created_at)
   SELECT sha256(id::text::bytea), id, 'LIVE', created_at FROM sessions WHERE device_name = 'Firefox on Linux'`,
  `INSERT INTO audit_inbox (type, occurred_at, success, risk_level, user_id, ip_address)
   SELECT (enum_range(NULL::audit_event_type))[1 + i % 22], now() - (${COUNT} - i) * interval '1 second', i % 3 > 0,
          (enum_range(NULL::risk_level))[1 + (i % 10) / 4], u.id, '198.51.' || i % 200 || '.' || i % 250
   FROM (SELECT row_number() OVER () AS i, id FROM users WHERE email LIKE 'crowd%') AS u`,
  `SELECT seal_audit_events(${COUNT})`,
  `INSERT INTO login_throttles (key, user_id, failures, last_failure_at, locked_until)
   SELECT 'user:' || id, id, 3, created_at, CASE WHEN random() < 0.1 THEN now() END
   FROM users WHERE email LIKE 'crowd%'`,
  `INSERT INTO one_time_tokens (id, user_id, purpose, token_hash, code_hash, created_at, expires_at)
   SELECT gen_random_uuid(), id, 'EMAIL_VERIFICATION', sha256(('token' || id)::bytea), sha256(('code' || id)::bytea),
          created_at, created_at + interval '1 day'
   FROM users WHERE email LIKE 'crowd%'`,
  `INSERT INTO code_guesses (id, key, compared, guessed_at)
   SELECT gen_random_uuid(), 'EMAIL_VERIFICATION:' || id, 1, created_at FROM users WHERE email LIKE 'crowd%'`,
  `INSERT INTO password_history (id, user_id, password_hash, created_at)
   SELECT gen_random_uuid(), id, 'x', created_at FROM users WHERE email LIKE 'crowd%'`,
  `SET session_replication_role = 'origin'`,
  'VACUUM ANALYZE',
]

/** The tables that grow with the installation. */
export const BIG_TABLES = [
  ...['users', 'sessions', 'refresh_tokens', 'audit_events', 'login_throttles', 'one_time_tokens', 'code_guesses'],
  'password_history',
]

/** Fills a database as years of use would. */
export async function addCrowd(database: pg.Client): Promise<void> {
  for (const statement of STATEMENTS) await database.query(statement)
}

import { randomBytes } from 'node:crypto'
import type pg from 'pg'
import { deriveKey, hmac } from '../../src/crypto/secrets.js'
import { SECRET_KEY } from './environment.js'

export const KINDS = [
  'unknown',
  'known',
  'unverified',
  'locked',
  'deactivated',
  'lockedUnknown',
  'taken',
  'mailed',
] as const
/** Taken: it has an account, and somebody has registered it once more. Mailed: it has an account, and a code to reset its password. */
export type Kind = (typeof KINDS)[number]

const HAS_ACCOUNT: ReadonlySet<Kind> = new Set(['known', 'locked', 'deactivated', 'taken', 'mailed'])
const IS_PENDING: ReadonlySet<Kind> = new Set(['unverified', 'taken'])

const INSERT_USERS = `
  INSERT INTO users (id, email, email_normalized, password_hash, password_changed_at, email_verified_at, pending_until,
                     is_active, terms_accepted_at, privacy_accepted_at, created_at)
  SELECT gen_random_uuid(), email, email, $2::text, now(), CASE WHEN $3::boolean THEN NULL ELSE now() END,
         CASE WHEN $3::boolean THEN now() + interval '1 day' END, $4::boolean, now(), now(), now()
  FROM unnest($1::text[]) AS email`
const INSERT_HISTORY = `
  INSERT INTO password_history (id, user_id, password_hash, created_at)
  SELECT gen_random_uuid(), id, password_hash, now() FROM users WHERE email = ANY($1::text[])`
const MAIL_CODES = `
  INSERT INTO one_time_tokens (id, user_id, purpose, token_hash, code_hash, created_at, expires_at)
  SELECT gen_random_uuid(), id, 'PASSWORD_RESET', sha256(id::text::bytea), sha256(id::text::bytea), now(), now() + interval '1 day'
  FROM users WHERE email = ANY($1::text[])`
const LOCK_ACCOUNTS = `
  INSERT INTO login_throttles (key, user_id, failures, last_failure_at, locked_until)
  SELECT 'user:' || id, id, 5, now(), now() + interval '1 day' FROM users WHERE email = ANY($1::text[])`
const LOCK_IDENTIFIERS = `
  INSERT INTO login_throttles (key, failures, last_failure_at, locked_until)
  SELECT 'identifier:' || key, 5, now(), now() + interval '1 day' FROM unnest($1::text[]) AS key`

/** Addresses that nobody has used, all of one length: nothing but the database tells one kind from another. */
export async function createStrangers(
  database: pg.Client,
  kind: Kind,
  count: number,
  hashes: { account: string; registration: string },
): Promise<string[]> {
  const emails = Array.from({ length: count }, () => `${randomBytes(8).toString('hex')}@bench.test`)
  if (HAS_ACCOUNT.has(kind)) await database.query(INSERT_USERS, [emails, hashes.account, false, kind !== 'deactivated'])
  if (IS_PENDING.has(kind)) await database.query(INSERT_USERS, [emails, hashes.registration, true, true])
  await database.query(INSERT_HISTORY, [emails])
  if (kind === 'locked') await database.query(LOCK_ACCOUNTS, [emails])
  if (kind === 'mailed') await database.query(MAIL_CODES, [emails])
  if (kind === 'lockedUnknown') {
    const key = deriveKey(SECRET_KEY, 'throttle')
    await database.query(LOCK_IDENTIFIERS, [emails.map((email) => hmac(key, email).toString('base64url'))])
  }
  return emails
}

import type { KeyRing } from '../crypto/key-ring.js'
import { hmac } from '../crypto/secrets.js'
import { normalizeIdentifier } from '../identifiers.js'
import type { Clock } from '../ports.js'
import type { Audit } from './audit.js'
import type { Client } from './client.js'
import type { Transaction } from './database.js'
import type { MailRequests } from './mail-requests.js'

interface Deps {
  clock: Clock
  audit: Audit
  mailRequests: MailRequests
  keys: KeyRing
  threshold: number
  durationMs: number
}

// A lock that has run out starts a new count; a lock that holds is not prolonged by further attempts. The failure that locks
// is number $4, also where that was lowered meanwhile, so that exactly one of many at once tells of the lock.
const COUNT = `
  INSERT INTO login_throttles AS t (key, user_id, failures, last_failure_at, locked_until)
  VALUES ($1::text, $2::uuid, 1, $3::timestamptz, CASE WHEN $4::int <= 1 THEN $5::timestamptz END)
  ON CONFLICT (key) DO UPDATE SET
    failures = CASE
      WHEN t.locked_until > $3::timestamptz THEN t.failures + 1
      WHEN t.locked_until <= $3::timestamptz THEN 1
      ELSE least(t.failures + 1, $4::int)
    END,
    last_failure_at = $3::timestamptz,
    locked_until = CASE
      WHEN t.locked_until > $3::timestamptz THEN t.locked_until
      WHEN (CASE WHEN t.locked_until <= $3::timestamptz THEN 1 ELSE t.failures + 1 END) >= $4::int THEN $5::timestamptz
    END
  RETURNING failures, locked_until AS "lockedUntil"`

// The account's own and those of its known devices.
const CLEAR = 'DELETE FROM login_throttles WHERE user_id = $1::uuid RETURNING locked_until AS "lockedUntil"'

const COUNT_IN_SESSION = `
  INSERT INTO login_throttles AS t (key, user_id, failures, last_failure_at) VALUES ($1::text, $2::uuid, 1, $3::timestamptz)
  ON CONFLICT (key) DO UPDATE SET failures = t.failures + 1, last_failure_at = $3::timestamptz
  RETURNING failures`

const CLEAR_SESSION = 'DELETE FROM login_throttles WHERE key = $1::text'

/**
 * What counts now of these keys, separated by commas: an identifier without an account has one for each SECRET_KEY. While that
 * changes, processes differ in the first of them, and what any has counted has to count for all, as it does for an account.
 */
export const counted = (keys: string, now: string) => `
    SELECT key, locked_until FROM login_throttles
    WHERE key = ANY(string_to_array(${keys}, ',')) AND (locked_until IS NULL OR locked_until > ${now}::timestamptz)
    ORDER BY locked_until DESC NULLS LAST, failures DESC LIMIT 1`

// What was counted while the address had no account.
const ADOPT = `
  UPDATE login_throttles SET key = $2::text, user_id = $3::uuid
  WHERE key = (SELECT key FROM (${counted('$1::text', '$4')}) AS one)`

/** Lockout after consecutive failures: the same for identifiers that have an account and for those that have none. */
export function createThrottle({ clock, audit, mailRequests, keys, threshold, durationMs }: Deps) {
  const keyOfAccount = (userId: string, isEmail: boolean): string => `${isEmail ? 'user' : 'username'}:${userId}`
  const keysOfUnknown = (identifier: string): string =>
    keys.all.map((key) => `identifier:${hmac(key, normalizeIdentifier(identifier)).toString('base64url')}`).join()

  return {
    /** Of each identifier of its own: a lock of one must not tell what the other one is. */
    keyOfAccount,
    /** A lane of its own for a device that the account is known on: what strangers do elsewhere does not reach it. */
    keyOfDevice: (deviceId: string, userId: string): string => `device:${deviceId}:${userId}`,
    keysOfUnknown,

    /** The address has an account from now on: that its lock was gone would tell. */
    async adopt(tx: Transaction, email: string, userId: string): Promise<void> {
      await tx.sql(ADOPT, [keysOfUnknown(email), keyOfAccount(userId, true), userId, clock.now()])
    },

    /**
     * Counts one failure. Returns until when the identifier is locked, if it is. The failure that locks it is told, by a
     * job that finds nobody to tell where there is no account.
     */
    async countFailure(tx: Transaction, client: Client, key: string, userId: string | null): Promise<Date | null> {
      const now = clock.now()
      const lockUntil = new Date(now.getTime() + durationMs)
      const [row] = await tx.sql<{ failures: number; lockedUntil: Date | null }>(COUNT, [
        key,
        userId,
        now,
        threshold,
        lockUntil,
      ])
      const lockedUntil = row?.lockedUntil ?? null
      if (row?.failures === threshold && lockedUntil) {
        const metadata = { lockedUntil: lockedUntil.toISOString(), onKnownDevice: key.startsWith('device:') }
        await audit.record(tx, client, { type: 'ACCOUNT_LOCKED', userId, metadata })
        const request = { userId, lockedUntil: lockedUntil.toISOString() }
        await mailRequests.ask(tx, client, { kind: 'LOCK', ...request })
      }
      return lockedUntil
    },

    /** Counts a wrong password of who is signed in. Returns how many there were in the session. */
    async countInSession(tx: Transaction, sessionId: string, userId: string): Promise<number> {
      const [row] = await tx.sql<{ failures: number }>(COUNT_IN_SESSION, [`session:${sessionId}`, userId, clock.now()])
      return row?.failures ?? 0
    },

    /** Forgets the wrong passwords of who knew the right one in the end. */
    clearSession: async (tx: Transaction, sessionId: string): Promise<void> =>
      void (await tx.sql(CLEAR_SESSION, [`session:${sessionId}`])),

    /** Forgets the failures. Records ACCOUNT_UNLOCKED when that ends a lock; returns whether it did. */
    async clear(tx: Transaction, client: Client, userId: string): Promise<boolean> {
      const rows = await tx.sql<{ lockedUntil: Date | null }>(CLEAR, [userId])
      const wasLocked = rows.some(({ lockedUntil }) => lockedUntil !== null && lockedUntil > clock.now())
      if (wasLocked) await audit.record(tx, client, { type: 'ACCOUNT_UNLOCKED', userId })
      return wasLocked
    },
  }
}

export type Throttle = ReturnType<typeof createThrottle>

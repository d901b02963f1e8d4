import type { Clock } from '../ports.js'
import type { AuditCheckpoints } from './audit-checkpoints.js'
import type { Database } from './database.js'
import type { StoredKeys } from './stored-keys.js'

interface Deps {
  db: Database
  clock: Clock
  checkpoints: AuditCheckpoints
  storedKeys: StoredKeys
  idleTimeoutMs: number
  auditRetentionMs: number
  historyLength: number
}

/** How many rows of each kind were removed. */
export type Purged = Record<
  | 'oneTimeTokens'
  | 'sessions'
  | 'registrations'
  | 'loginThrottles'
  | 'mailQuotas'
  | 'passwordHistory'
  | 'auditEvents'
  | 'signingKeys'
  | 'mailbox',
  number
>

const DAY_MS = 86_400_000
/** An ended session is still listed, and its refresh tokens still recognised, for so long. */
const ENDED_SESSIONS_MS = 30 * DAY_MS
const THROTTLE_MS = DAY_MS
const MAILBOX_MS = 7 * DAY_MS

const EXPIRE_SESSIONS = `
  UPDATE sessions SET ended_at = least(expires_at, last_activity_at + make_interval(secs => $2::float8)), end_reason = 'EXPIRED'
  WHERE ended_at IS NULL AND (expires_at <= $1::timestamptz OR last_activity_at <= $1::timestamptz - make_interval(secs => $2::float8))`
const OLD_PASSWORDS = `
  WITH ranked AS (
    SELECT id, row_number() OVER (PARTITION BY user_id ORDER BY created_at DESC) AS rank FROM password_history
  ), gone AS (DELETE FROM password_history WHERE id IN (SELECT id FROM ranked WHERE rank > $1::int) RETURNING 1)
  SELECT count(*)::int AS count FROM gone`

export function createMaintenance({ db, clock, checkpoints, storedKeys, ...settings }: Deps) {
  return {
    /** Removes what has expired. Safe to run at any time, by several processes at once. */
    async purge(): Promise<Purged> {
      const now = clock.now()
      const before = (ageMs: number) => new Date(now.getTime() - ageMs)
      const { prisma } = db
      await db.sql(EXPIRE_SESSIONS, [now, settings.idleTimeoutMs / 1000])
      const [oneTimeTokens, sessions, registrations, loginThrottles, mailQuotas, auditEvents, keys, mailbox] =
        await Promise.all([
          prisma.oneTimeToken.deleteMany({ where: { expiresAt: { lt: before(DAY_MS) } } }),
          prisma.session.deleteMany({ where: { endedAt: { lt: before(ENDED_SESSIONS_MS) } } }),
          prisma.user.deleteMany({ where: { pendingUntil: { lt: now } } }),
          prisma.loginThrottle.deleteMany({
            where: {
              lastFailureAt: { lt: before(THROTTLE_MS) },
              OR: [{ lockedUntil: null }, { lockedUntil: { lt: now } }],
            },
          }),
          prisma.mailQuota.deleteMany({ where: { fullAt: { lt: now } } }),
          checkpoints.removeBefore(before(settings.auditRetentionMs)),
          storedKeys.purge(),
          prisma.mailboxMessage.deleteMany({ where: { sentAt: { lt: before(MAILBOX_MS) } } }),
        ])
      const [passwords] = await db.sql<{ count: number }>(OLD_PASSWORDS, [Math.max(1, settings.historyLength)])
      return {
        oneTimeTokens: oneTimeTokens.count,
        sessions: sessions.count,
        registrations: registrations.count,
        loginThrottles: loginThrottles.count,
        mailQuotas: mailQuotas.count,
        passwordHistory: passwords?.count ?? 0,
        auditEvents,
        signingKeys: keys,
        mailbox: mailbox.count,
      }
    },
  }
}

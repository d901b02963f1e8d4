import type { Clock, Log } from '../ports.js'
import type { AuditCheckpoints } from './audit-checkpoints.js'
import type { Database } from './database.js'
import type { StoredKeys } from './stored-keys.js'

interface Deps {
  db: Database
  clock: Clock
  log: Log
  checkpoints: AuditCheckpoints
  storedKeys: StoredKeys
  auditRetentionMs: number
}

interface Expiry {
  table: string
  /** What is removed; $1 is a time. */
  condition: string
  /** How long ago that time is. */
  ageMs: number
}

const DAY_MS = 86_400_000

/** By what an answer calls it. Until a session is removed it is still listed, and its refresh tokens recognised. */
const EXPIRIES = {
  oneTimeTokens: { table: 'one_time_tokens', condition: 'expires_at < $1', ageMs: DAY_MS },
  // A code that is good for longer may be guessed at again.
  codeGuesses: { table: 'code_guesses', condition: 'guessed_at < $1', ageMs: 30 * DAY_MS },
  sessions: { table: 'sessions', condition: 'expires_at < $1', ageMs: 30 * DAY_MS },
  registrations: { table: 'users', condition: 'pending_until < $1', ageMs: 0 },
  loginThrottles: {
    table: 'login_throttles',
    // Wrong passwords of who is signed in count for as long as the session may.
    condition: `last_failure_at < $1 AND (locked_until IS NULL OR locked_until < $1)
      AND CASE WHEN key LIKE 'session:%'
        THEN (SELECT s.ended_at IS NULL FROM sessions s WHERE s.id = substr(key, 9)::uuid) IS NOT TRUE ELSE true END`,
    ageMs: DAY_MS,
  },
  mailQuotas: { table: 'mail_quotas', condition: 'full_at < $1', ageMs: 0 },
  mailbox: { table: 'mailbox_messages', condition: 'sent_at < $1', ageMs: 7 * DAY_MS },
} as const satisfies Record<string, Expiry>

/** How many rows of each kind were removed. */
export type Purged = Record<keyof typeof EXPIRIES | 'auditEvents' | 'signingKeys', number>

/** So many go by one statement: each is short, however much there is to do. */
const BATCH = 1000
const remove = ({ table, condition }: Expiry) => `
  WITH gone AS (
    DELETE FROM ${table}
    WHERE ctid = ANY(ARRAY(SELECT ctid FROM ${table} WHERE ${condition} LIMIT ${BATCH})) AND ${condition} RETURNING 1)
  SELECT count(*)::int AS count FROM gone`

export function createMaintenance({ db, clock, log, checkpoints, storedKeys, auditRetentionMs }: Deps) {
  async function removeAll(expiry: Expiry, before: Date): Promise<number> {
    for (let removed = 0; ; ) {
      const [row] = await db.sql<{ count: number }>(remove(expiry), [before])
      removed += row?.count ?? 0
      if ((row?.count ?? 0) < BATCH) return removed
    }
  }

  return {
    /**
     * Removes what has expired. Safe to run at any time, by several processes at once. What fails keeps nothing else from
     * going, and is thrown at the end.
     */
    async purge(): Promise<Purged> {
      const before = (ageMs: number) => new Date(clock.now().getTime() - ageMs)
      const steps: Record<string, () => Promise<number>> = {
        auditEvents: () => checkpoints.removeBefore(before(auditRetentionMs)),
        signingKeys: async () => {
          await checkpoints.renew()
          return storedKeys.purge()
        },
      }
      for (const [name, expiry] of Object.entries(EXPIRIES)) steps[name] = () => removeAll(expiry, before(expiry.ageMs))
      const purged: Record<string, number> = {}
      let failure: unknown
      for (const [name, step] of Object.entries(steps)) {
        try {
          purged[name] = await step()
        } catch (error) {
          failure ??= error
          log.warn({ err: error, kind: name }, 'What has expired could not be removed')
        }
      }
      if (failure) throw failure
      return purged as Purged
    },
  }
}

import type { AuditEventType } from '../audit-events.js'
import type { KeyRing } from '../crypto/key-ring.js'
import { hmac } from '../crypto/secrets.js'
import { mailboxOf } from '../identifiers.js'
import type { Clock } from '../ports.js'
import type { Audit } from './audit.js'
import type { Client } from './client.js'
import type { Transaction } from './database.js'
import type { UserRecord } from './records.js'

interface Quota {
  /** So many at once, */
  burst: number
  /** and then one in this time. */
  everyMs: number
}

const MINUTE_MS = 60_000

/**
 * How many mails a mailbox gets that anybody, or whoever knows its account's password, can have sent to it, whatever the
 * number of addresses that ask. In any hour: the burst, and those of an hour. A mail that was withheld leaves the link of
 * the one before it good; a reset link lives for ten minutes, so that whoever uses a quota up leaves the owner a good link
 * nearly all the time.
 */
const QUOTAS = {
  // Apart: who fills a mailbox by registering leaves the owner the mails that confirm no stranger's password.
  registration: { burst: 5, everyMs: 10 * MINUTE_MS },
  'email-verification': { burst: 5, everyMs: 10 * MINUTE_MS },
  'password-reset': { burst: 5, everyMs: 10 * MINUTE_MS },
  'existing-account': { burst: 3, everyMs: 20 * MINUTE_MS },
  'account-locked': { burst: 3, everyMs: 20 * MINUTE_MS },
  'new-device': { burst: 5, everyMs: 10 * MINUTE_MS },
  'sessions-ended': { burst: 5, everyMs: 10 * MINUTE_MS },
} as const satisfies Record<string, Quota>

export type LimitedMail = keyof typeof QUOTAS

/**
 * Warnings, which an account has to itself: where a tag makes another mailbox, its owner could else use up those of the one
 * without.
 */
const OF_ACCOUNTS: ReadonlySet<LimitedMail> = new Set(['new-device', 'sessions-ended'])

// GCRA in one statement: exact, however many workers ask at once.
const TAKE = `
  INSERT INTO mail_quotas AS q (key, full_at) VALUES ($1::text, $2::timestamptz + make_interval(secs => $3::float8))
  ON CONFLICT (key) DO UPDATE SET full_at = greatest(q.full_at, $2::timestamptz) + make_interval(secs => $3::float8)
  WHERE q.full_at <= $2::timestamptz + make_interval(secs => $3::float8 * ($4::int - 1))
  RETURNING key`

export function createMailQuotas({ clock, audit, keys }: { clock: Clock; audit: Audit; keys: KeyRing }) {
  /** Counts one mail, in the transaction that sends it. False: there were enough of that kind. */
  async function take(tx: Transaction, to: Pick<UserRecord, 'id' | 'email'>, mail: LimitedMail): Promise<boolean> {
    const { burst, everyMs } = QUOTAS[mail]
    const whose = OF_ACCOUNTS.has(mail) ? to.id : mailboxOf(to.email)
    const key = `${mail}:${hmac(keys.current, whose).toString('base64url')}`
    const rows = await tx.sql(TAKE, [key, clock.now(), everyMs / 1000, burst])
    return rows.length > 0
  }

  return {
    take,

    /** Whether there may be one more. The log tells of those that may not be, in place of the mail. */
    async allow(
      tx: Transaction,
      client: Client,
      to: Pick<UserRecord, 'id' | 'email'>,
      mail: LimitedMail,
      type: AuditEventType = 'RATE_LIMIT_EXCEEDED',
    ): Promise<boolean> {
      if (await take(tx, to, mail)) return true
      const metadata = { reason: 'TOO_MANY_MAILS', mail }
      await audit.record(tx, client, { type, success: false, userId: to.id, metadata })
      return false
    },
  }
}

export type MailQuotas = ReturnType<typeof createMailQuotas>

import type { KeyRing } from '../crypto/key-ring.js'
import { hmac } from '../crypto/secrets.js'
import { mailboxOf } from '../identifiers.js'
import type { Clock } from '../ports.js'
import type { Transaction } from './database.js'

interface Quota {
  /** So many at once, */
  burst: number
  /** and then one in this time. */
  everyMs: number
}

const MINUTE_MS = 60_000

/**
 * How many mails a mailbox gets that anybody can have sent to it, whatever the number of addresses that ask. In any hour:
 * the burst, and those of an hour. A mail that was withheld leaves the link of the one before it good; a reset link lives
 * for ten minutes, so that whoever uses a quota up leaves the owner a good link nearly all the time.
 */
const QUOTAS = {
  // Apart: who fills a mailbox by registering leaves the owner the mails that confirm no stranger's password.
  registration: { burst: 5, everyMs: 10 * MINUTE_MS },
  'email-verification': { burst: 5, everyMs: 10 * MINUTE_MS },
  'password-reset': { burst: 5, everyMs: 10 * MINUTE_MS },
  'existing-account': { burst: 3, everyMs: 20 * MINUTE_MS },
  'account-locked': { burst: 3, everyMs: 20 * MINUTE_MS },
} as const satisfies Record<string, Quota>

export type LimitedMail = keyof typeof QUOTAS

// GCRA in one statement: exact, however many workers ask at once.
const TAKE = `
  INSERT INTO mail_quotas AS q (key, full_at) VALUES ($1::text, $2::timestamptz + make_interval(secs => $3::float8))
  ON CONFLICT (key) DO UPDATE SET full_at = greatest(q.full_at, $2::timestamptz) + make_interval(secs => $3::float8)
  WHERE q.full_at <= $2::timestamptz + make_interval(secs => $3::float8 * ($4::int - 1))
  RETURNING key`

export function createMailQuotas({ clock, keys }: { clock: Clock; keys: KeyRing }) {
  return {
    /** Counts one mail, in the transaction that sends it. False: the mailbox has had enough of that kind. */
    async take(tx: Transaction, email: string, kind: LimitedMail): Promise<boolean> {
      const { burst, everyMs } = QUOTAS[kind]
      const key = `${kind}:${hmac(keys.current, mailboxOf(email)).toString('base64url')}`
      const rows = await tx.sql(TAKE, [key, clock.now(), everyMs / 1000, burst])
      return rows.length > 0
    },
  }
}

export type MailQuotas = ReturnType<typeof createMailQuotas>

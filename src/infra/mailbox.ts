import type { Clock, Mailer, SentMail, Sql } from '../ports.js'
import { assertAddress } from './mailer.js'

const KEPT = 200

const KEEP = `
  INSERT INTO mailbox_messages (id, recipient, subject, text, html, sent_at)
  VALUES ($1::uuid, $2::text, $3::text, $4::text, $5::text, $6::timestamptz) ON CONFLICT (id) DO NOTHING`
const NEWEST = `
  SELECT recipient AS "to", subject, text, html, sent_at AS "sentAt" FROM mailbox_messages
  ORDER BY sent_at DESC, id DESC LIMIT ${KEPT}`

/** Sends nothing: keeps mails in the database for `/dev/mailbox`. A job that runs twice leaves one mail. */
export function createMailbox({ sql, clock }: { sql: Sql; clock: Clock }): Mailer & { mails(): Promise<SentMail[]> } {
  return {
    send: async ({ to, subject, text, html }, id) => {
      assertAddress(to)
      await sql(KEEP, [id, to, subject, text, html, clock.now()])
    },
    isReachable: async () => true,
    mails: () => sql<SentMail>(NEWEST, []),
  }
}

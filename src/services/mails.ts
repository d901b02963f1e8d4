import { openText, sealText } from '../crypto/envelopes.js'
import type { KeyRing } from '../crypto/key-ring.js'
import { type EmailData, type EmailKind, hasNotMe } from '../emails/kinds.js'
import { renderEmail } from '../emails/render.js'
import { displayNameOf } from '../identifiers.js'
import type { Jobs, MailMessage } from '../ports.js'
import type { Transaction } from './database.js'
import type { Links } from './links.js'
import type { OneTimeTokens } from './one-time-tokens.js'

interface Recipient {
  id: string
  email: string
  displayName: string | null
  username: string | null
  locale: string
  timezone: string
  emailVerifiedAt: Date | null
}

interface Letter {
  kind: EmailKind
  data: EmailData[EmailKind]
  recipient: { email: string; displayName: string; locale: string; timezone: string }
}

interface Deps {
  jobs: Jobs
  keys: KeyRing
  links: Links
  oneTimeTokens: OneTimeTokens
  productName: string
}

const CONTEXT = 'mail'

/** Outgoing mail: enqueued with the change that caused it, written and sent by a job. */
export function createMails({ jobs, keys, links, oneTimeTokens, productName }: Deps) {
  /** A mail about what others may have done brings the means against it. */
  async function notMe(tx: Transaction, userId: string) {
    const { token, lifetimeSeconds } = await oneTimeTokens.issueLink(tx, userId, 'NOT_ME')
    return { notMeLink: links.notMe(token), notMeSeconds: lifetimeSeconds }
  }

  /**
   * The mail exists exactly when the transaction commits. Waiting jobs hold it encrypted: it may carry a token. What tells of
   * an account's doings goes to proven addresses only.
   */
  async function send<K extends EmailKind>(
    tx: Transaction,
    to: Recipient,
    kind: K,
    data: Omit<EmailData[K], 'loginLink' | 'resetLink' | 'notMeLink' | 'notMeSeconds'>,
  ): Promise<void> {
    // Nobody has proven the address: whoever has an account with it may be a stranger to its owner, with words of his own for a name.
    if (hasNotMe(kind) && !to.emailVerifiedAt) return
    const { email, locale, timezone } = to
    const recipient = { email, displayName: to.emailVerifiedAt ? displayNameOf(to) : '', locale, timezone }
    const ways = {
      loginLink: links.home(),
      resetLink: links.resetPassword(),
      ...(hasNotMe(kind) && (await notMe(tx, to.id))),
    }
    const letter = { kind, data: { ...data, ...ways }, recipient }
    const sealed = sealText(keys, JSON.stringify(letter), CONTEXT)
    await jobs.enqueue(tx.sql, 'send-email', { sealed })
    await tx.afterCommit(() => jobs.wake('send-email'))
  }

  return {
    send,

    /** The means to choose a new password, by link or by code. Those that were mailed before no longer work. */
    async sendReset(tx: Transaction, to: Recipient): Promise<void> {
      const { token, code, lifetimeSeconds } = await oneTimeTokens.issue(tx, to.id, 'PASSWORD_RESET')
      await send(tx, to, 'password-reset', { link: links.resetPassword(token), code, lifetimeSeconds })
    },

    /** Opens what `send` enqueued. Throws when it was sealed under a key that is gone. */
    render(sealed: string): MailMessage {
      const { kind, data, recipient } = JSON.parse(openText(keys, sealed, CONTEXT)) as Letter
      return { to: recipient.email, ...renderEmail(kind, data as never, recipient, productName) }
    },
  }
}

export type Mails = ReturnType<typeof createMails>

import { DomainError, InvalidTokenError } from '../errors.js'
import type { Clock, RateLimitVerdict } from '../ports.js'
import type { Accounts } from './accounts.js'
import type { Audit } from './audit.js'
import type { Client } from './client.js'
import type { Database } from './database.js'
import type { Mails } from './mails.js'
import type { OneTimeTokens } from './one-time-tokens.js'
import type { RateLimits } from './rate-limits.js'
import type { Records } from './records.js'
import type { Sessions } from './sessions.js'

interface Deps {
  db: Database
  clock: Clock
  audit: Audit
  accounts: Accounts
  records: Records
  sessions: Sessions
  mails: Mails
  oneTimeTokens: OneTimeTokens
  rateLimits: RateLimits
}

/** How long the links of mails work that say "this was not me". */
export const NOT_ME_LIFETIME_MS = 7 * 86_400_000

/** What the owner of an account does by the link of a mail about something that somebody else did. */
export function createNotMe(deps: Deps) {
  const { db, clock, audit, accounts, records, sessions, mails, oneTimeTokens, rateLimits } = deps

  async function report(client: Client, token: string): Promise<void> {
    const found = await oneTimeTokens.find('NOT_ME', { token })
    if (!found) throw new InvalidTokenError()
    const { userId } = found
    await db.transaction(async (tx) => {
      const now = clock.now()
      // First the account's row: no session opens with the old password from here on.
      await accounts.takePassword(tx, userId)
      if (!(await oneTimeTokens.claim(tx, found))) throw new InvalidTokenError()
      await tx.prisma.oneTimeToken.updateMany({ where: { userId, usedAt: null }, data: { usedAt: now } })
      await tx.afterCommit(() => records.forget({ userIds: [userId] }))
      const ended = await sessions.end(tx, client, userId, 'TERMINATED')
      // Whoever it was is told as a new device when he comes again.
      await tx.prisma.session.updateMany({ where: { userId }, data: { deviceFingerprint: '' } })
      const metadata = { reason: 'NOT_ME', terminatedSessions: ended.length }
      await audit.record(tx, client, { type: 'PASSWORD_RESET_REQUESTED', userId, metadata })
      const user = await accounts.findById(tx, userId)
      if (!user.isActive) return
      await mails.sendReset(tx, user)
    })
  }

  return {
    /**
     * Ends every session, takes the password away and mails what a new one is set with. Nothing else that was mailed
     * before works any more. Returns the verdict of the limit that refused, if one did. Throws InvalidTokenError.
     */
    async report(
      client: Client,
      token: string,
      reportLimit: (verdict: RateLimitVerdict) => void,
    ): Promise<RateLimitVerdict | null> {
      const verdict = await rateLimits.consume('notMe', { subjectOf: () => client.addressKey, isSignedIn: false })
      if (verdict) reportLimit(verdict)
      if (verdict && !verdict.isAllowed) {
        await rateLimits.recordRefusal(client, 'notMe', null)
        return verdict
      }
      try {
        await report(client, token)
        return null
      } catch (error) {
        if (error instanceof DomainError) {
          const metadata = { reason: 'NOT_ME', code: error.code }
          await audit.record(db, client, { type: 'PASSWORD_RESET_REQUESTED', success: false, metadata })
        }
        throw error
      }
    },
  }
}

export type NotMe = ReturnType<typeof createNotMe>

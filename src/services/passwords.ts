import { DomainError, InvalidCredentialsError, InvalidTokenError, RequestError, WeakPasswordError } from '../errors.js'
import type { User } from '../generated/prisma/client.js'
import type { Clock, PasswordHasher } from '../ports.js'
import type { AccessTokens, Authentication } from './access-tokens.js'
import type { Accounts } from './accounts.js'
import type { Audit } from './audit.js'
import { type Client, originOf } from './client.js'
import type { Database, Transaction } from './database.js'
import type { MailRequests } from './mail-requests.js'
import type { Mails } from './mails.js'
import type { NewPassword, NewPasswords } from './new-passwords.js'
import type { FoundToken, OneTimeTokens, Proof } from './one-time-tokens.js'
import type { PasswordOwner, PasswordPolicy } from './password-policy.js'
import type { Records, SessionRecord, UserRecord } from './records.js'
import { SHARE_ACCOUNT } from './session-statements.js'
import type { Sessions } from './sessions.js'
import type { Throttle } from './throttle.js'

interface Deps {
  db: Database
  clock: Clock
  audit: Audit
  accounts: Accounts
  records: Records
  sessions: Sessions
  accessTokens: AccessTokens
  throttle: Throttle
  mails: Mails
  mailRequests: MailRequests
  oneTimeTokens: OneTimeTokens
  policy: PasswordPolicy
  newPasswords: NewPasswords
  hasher: PasswordHasher
  /** How many passwords, the current one included, must not be chosen again. */
  historyLength: number
}

interface Reset {
  user: UserRecord
  /** How many were active. */
  terminatedSessions: number
}

type Changing = Pick<User, 'id' | 'passwordHash' | 'passwordChangedAt'>

/** So many wrong passwords in a session end it (NIST SP 800-63B-4 section 3.2.2 bounds them at a hundred). */
const MAX_GUESSES = 20

/** Those of an account's passwords that count no longer. */
const FORGET_OLD = `
  DELETE FROM password_history WHERE user_id = $1::uuid AND id NOT IN (
    SELECT id FROM password_history WHERE user_id = $1::uuid ORDER BY created_at DESC LIMIT $2::int)`

export function createPasswords(deps: Deps) {
  const { db, clock, audit, accounts, records, sessions, accessTokens, throttle, mails, oneTimeTokens } = deps
  const { mailRequests, policy, newPasswords, hasher, historyLength } = deps

  /** The latest of them is the current one. */
  const historyOf = async (userId: string): Promise<string[]> => {
    const rows = await db.prisma.passwordHistory.findMany({
      where: { userId },
      orderBy: { createdAt: 'desc' },
      take: historyLength,
      select: { passwordHash: true },
    })
    return rows.map((row) => row.passwordHash)
  }

  /**
   * Stores the new hash, provided that the old one still stands: of two concurrent changes one wins. The account's row
   * stays locked until the commit, so that no session opens with the old password meanwhile.
   */
  async function replace(
    tx: Transaction,
    { id: userId, passwordHash, passwordChangedAt }: Changing,
    next: NewPassword,
  ): Promise<boolean> {
    // Later than the last change in any case, though the clock of another server made that: tokens are told apart by it.
    const now = new Date(Math.max(clock.now().getTime(), passwordChangedAt.getTime() + 1))
    const { count } = await tx.prisma.user.updateMany({
      where: { id: userId, passwordHash, isActive: true },
      data: { passwordHash: next.hash, passwordChangedAt: now },
    })
    if (count === 0) return false
    await tx.prisma.passwordHistory.create({ data: { userId, passwordHash: next.hash, createdAt: now } })
    await tx.sql(FORGET_OLD, [userId, Math.max(1, historyLength)])
    await next.settle(tx, userId)
    await oneTimeTokens.end(tx, userId, 'PASSWORD_RESET', 'EXCHANGE')
    await tx.afterCommit(() => records.forget({ userIds: [userId] }))
    return true
  }

  /** Who is signed in without knowing the password may be a thief who would like to. */
  const countGuess = (client: Client, user: UserRecord, session: SessionRecord): Promise<void> =>
    db.transaction(async (tx) => {
      // Before the count, which a reset forgets while it has the account: neither waits for the other.
      await tx.sql(SHARE_ACCOUNT, [user.id])
      if ((await throttle.countInSession(tx, session.id, user.id)) < MAX_GUESSES) return
      const ended = await sessions.end(tx, client, user.id, 'TERMINATED', { ids: [session.id] })
      if (ended.length > 0)
        await mails.send(tx, user, 'sessions-ended', { ...originOf(client, clock.now()), hasGuessed: true })
    })

  async function change(client: Client, user: UserRecord, session: SessionRecord, current: string, next: string) {
    const changing = await db.prisma.user.findUniqueOrThrow({
      where: { id: user.id },
      select: { id: true, passwordHash: true, passwordChangedAt: true },
    })
    if (!(await hasher.verify(changing.passwordHash, current))) {
      await countGuess(client, user, session)
      throw new InvalidCredentialsError('The current password is not correct.')
    }
    const accepted = await newPasswords.accept(next, { ...user, history: await historyOf(user.id) })
    await accessTokens.assertSigner()
    const { ended, refreshToken, changed } = await db.transaction(async (tx) => {
      if (!(await replace(tx, changing, accepted))) throw new InvalidCredentialsError()
      await throttle.clearSession(tx, session.id)
      const ended = await sessions.end(tx, client, user.id, 'PASSWORD_CHANGED', { except: session.id })
      const metadata = { terminatedSessions: ended.length }
      await audit.record(tx, client, { type: 'PASSWORD_CHANGED', userId: user.id, sessionId: session.id, metadata })
      await mails.send(tx, user, 'password-changed', originOf(client, clock.now()))
      const refreshToken = await sessions.reissue(tx, session)
      // Not later: a reset that comes next is of a password that this caller has not proven.
      return { ended, refreshToken, changed: await records.freshUser(user.id, tx.sql) }
    })
    const freshSession = await records.freshSession(session.id)
    const authentication = await accessTokens.issue(changed ?? user, freshSession ?? session, refreshToken)
    return { authentication, terminatedSessions: ended.length }
  }

  async function reset(client: Client, found: FoundToken, next: string): Promise<Reset> {
    const account = await db.prisma.user.findUnique({ where: { id: found.userId } })
    if (!account) throw new InvalidTokenError()
    const { passwordHash, ...owner } = account
    const accepted = await newPasswords.accept(next, { ...owner, history: await historyOf(found.userId) })
    return db.transaction(async (tx) => {
      // Whoever reads the mails of an address owns it.
      const user = await accounts.establish(tx, found.userId)
      if (!(await oneTimeTokens.claim(tx, found))) throw new InvalidTokenError()
      if (!(await replace(tx, account, accepted))) throw new InvalidTokenError()
      await oneTimeTokens.end(tx, user.id, 'EMAIL_VERIFICATION')
      const ended = await sessions.end(tx, client, user.id, 'PASSWORD_RESET')
      await throttle.clear(tx, client, user.id)
      const metadata = { terminatedSessions: ended.length }
      await audit.record(tx, client, { type: 'PASSWORD_RESET_COMPLETED', userId: user.id, metadata })
      await mails.send(tx, user, 'password-reset-completed', originOf(client, clock.now()))
      return { user: await accounts.findById(tx, user.id), terminatedSessions: ended.length }
    })
  }

  return {
    /** Scores a candidate. Throws WeakPasswordError with every rule that it breaks. */
    async check({ addressKey }: Client, password: string, owner: PasswordOwner): Promise<number> {
      const { score, violations } = await policy.assess(password, owner, addressKey)
      if (violations.length > 0) throw new WeakPasswordError(score, violations)
      return score
    },

    /**
     * Changes the password, ends all other sessions and gives the current one new tokens. Throws InvalidCredentialsError
     * and WeakPasswordError; then nothing has changed.
     */
    async change(
      client: Client,
      { user, session }: { user: UserRecord; session: SessionRecord },
      current: string,
      next: string,
    ): Promise<{ authentication: Authentication; terminatedSessions: number }> {
      try {
        return await change(client, user, session, current, next)
      } catch (error) {
        // While the password was found right, the session may have ended.
        const hasEnded = error instanceof RequestError && error.code === 'UNAUTHENTICATED'
        if (error instanceof DomainError || hasEnded) {
          const metadata = { reason: hasEnded ? 'SESSION_ENDED' : error.code }
          await audit.record(db, client, {
            type: 'PASSWORD_CHANGE_FAILED',
            userId: user.id,
            sessionId: session.id,
            metadata,
          })
        }
        throw error
      }
    },

    /** Has a link and a code mailed, where there is an account. Says nothing about whether there is. */
    requestReset: (client: Client, email: string): Promise<void> =>
      mailRequests.ask(db, client, { kind: 'RESET', email }),

    /**
     * Sets a new password with the proof of a mail, ends every session and lifts a lock. Throws InvalidTokenError and
     * WeakPasswordError; a weak password does not use the proof up.
     */
    async reset(client: Client, proof: Proof, next: string): Promise<Reset> {
      const refuse = (tx: Transaction, reason: string, userId: string | null = null) =>
        audit.record(tx, client, { type: 'PASSWORD_RESET_COMPLETED', success: false, userId, metadata: { reason } })
      const found = await oneTimeTokens.find('PASSWORD_RESET', proof, (tx) => refuse(tx, 'INVALID_TOKEN'))
      if (!found) throw new InvalidTokenError()
      try {
        return await reset(client, found, next)
      } catch (error) {
        if (error instanceof DomainError) await refuse(db, error.code, found.userId)
        throw error
      }
    },
  }
}

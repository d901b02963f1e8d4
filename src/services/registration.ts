import { DomainError, InvalidTokenError, UsernameTakenError } from '../errors.js'
import { normalizeEmail, normalizeUsername } from '../identifiers.js'
import type { Clock } from '../ports.js'
import { type Accounts, isTaken } from './accounts.js'
import type { Audit, AuditEntry } from './audit.js'
import { type Client, plainOriginOf } from './client.js'
import type { Database, Transaction } from './database.js'
import type { MailRequests } from './mail-requests.js'
import type { Mails } from './mails.js'
import type { NewPassword, NewPasswords } from './new-passwords.js'
import type { OneTimeTokens, Proof } from './one-time-tokens.js'
import type { UserRecord } from './records.js'
import type { Sessions } from './sessions.js'

interface Deps {
  db: Database
  clock: Clock
  audit: Audit
  accounts: Accounts
  mails: Mails
  mailRequests: MailRequests
  oneTimeTokens: OneTimeTokens
  newPasswords: NewPasswords
  sessions: Sessions
  requireVerifiedEmail: boolean
  verificationLifetimeMs: number
}

export interface Registration {
  email: string
  password: string
  username: string | null
  firstName: string | null
  lastName: string | null
  displayName: string | null
  locale: string | null
  timezone: string | null
}

export function createRegistration(deps: Deps) {
  const { db, clock, audit, accounts, mails, mailRequests, oneTimeTokens, newPasswords, sessions } = deps

  /**
   * An account that can be used before its address is proven may be a squatter's, if somebody has registered the address
   * once more: whoever proves it gets the account, but nobody's password and none of its sessions.
   */
  async function disown(tx: Transaction, client: Client, userId: string): Promise<void> {
    const { prisma } = tx
    const user = await prisma.user.findUnique({ where: { id: userId } })
    if (!user || user.pendingUntil || user.emailVerifiedAt) return
    const others = { emailNormalized: user.emailNormalized, pendingUntil: { not: null } }
    if (!user.isContested && (await prisma.user.count({ where: others })) === 0) return
    await accounts.takePassword(tx, userId)
    await prisma.passwordHistory.deleteMany({ where: { userId } })
    await sessions.end(tx, client, userId, 'TERMINATED')
  }

  /** Who has confirmed a registration without a password chooses one by the next mail. */
  async function askForPassword(tx: Transaction, client: Client, user: UserRecord): Promise<void> {
    if (await tx.prisma.passwordHistory.findFirst({ where: { userId: user.id }, select: { id: true } })) return
    await mails.sendReset(tx, user)
    await audit.record(tx, client, { type: 'PASSWORD_RESET_REQUESTED', userId: user.id })
  }

  async function create(
    tx: Transaction,
    client: Client,
    input: Registration,
    passwordHash: string,
    isPending: boolean,
  ): Promise<string> {
    const now = clock.now()
    const { password: _, username, locale, timezone, ...names } = input
    const { id } = await tx.prisma.user.create({
      data: {
        ...names,
        emailNormalized: normalizeEmail(input.email),
        username,
        usernameNormalized: username && normalizeUsername(username),
        ...(locale && { locale }),
        ...(timezone && { timezone }),
        passwordHash,
        passwordChangedAt: now,
        pendingUntil: isPending ? new Date(now.getTime() + deps.verificationLifetimeMs) : null,
        registeredFrom: plainOriginOf(client, now),
        termsAcceptedAt: now,
        privacyAcceptedAt: now,
        createdAt: now,
        passwordHistory: { create: { passwordHash, createdAt: now } },
      },
      select: { id: true },
    })
    return id
  }

  const refuse = (tx: Transaction, client: Client, type: AuditEntry['type'], reason: string): Promise<void> =>
    audit.record(tx, client, { type, success: false, metadata: { reason } })

  /**
   * One and the same for every address. Where the address has an account the registration waits as any other, with its
   * password and its username, but no mail will ever verify it: the job that this asks for tells the owner instead.
   */
  async function store(client: Client, input: Registration, accepted: NewPassword): Promise<void> {
    await db.transaction(async (tx) => {
      const owner = await accounts.ownerOf(tx, normalizeEmail(input.email))
      const userId = await create(tx, client, input, accepted.hash, deps.requireVerifiedEmail || owner !== null)
      await accepted.settle(tx, userId)
      const known = { success: false, userId: owner?.id ?? null, metadata: { reason: 'ALREADY_REGISTERED' } }
      await audit.record(tx, client, { type: 'REGISTERED', ...(owner?.isEstablished ? known : { userId }) })
      await mailRequests.ask(tx, client, { kind: 'REGISTRATION', userId })
    })
  }

  return {
    /**
     * Registers an account that waits for the verification of its address. The same answer, after the same work, for an
     * address that has one: its owner gets a mail. Throws WeakPasswordError and UsernameTakenError.
     */
    async register(client: Client, input: Registration): Promise<void> {
      try {
        const accepted = await newPasswords.accept(input.password, input)
        const attempt = () => store(client, input, accepted)
        // Where no verification is awaited, another registration of the address may come first in between.
        await attempt().catch((error) => (isTaken(error, 'email') ? attempt() : Promise.reject(error)))
      } catch (error) {
        const refusal = isTaken(error, 'username') ? new UsernameTakenError() : error
        if (refusal instanceof DomainError) await refuse(db, client, 'REGISTERED', refusal.code)
        throw refusal
      }
    },

    /** Proves the address and gives a token that signs the new user in. Throws InvalidTokenError. */
    async verifyEmail(client: Client, proof: Proof): Promise<{ email: string; exchangeToken: string }> {
      const onMiss = (tx: Transaction) => refuse(tx, client, 'EMAIL_VERIFIED', 'INVALID_TOKEN')
      const found = await oneTimeTokens.find('EMAIL_VERIFICATION', proof, onMiss)
      if (!found) throw new InvalidTokenError()
      try {
        return await db.transaction(async (tx) => {
          await accounts.lockClaimants(tx, found.userId)
          await disown(tx, client, found.userId)
          const user = await accounts.establish(tx, found.userId)
          if (!(await oneTimeTokens.claim(tx, found))) throw new InvalidTokenError()
          await oneTimeTokens.end(tx, user.id, 'EMAIL_VERIFICATION', 'EXCHANGE')
          await askForPassword(tx, client, user)
          await audit.record(tx, client, { type: 'EMAIL_VERIFIED', userId: user.id })
          const { token } = await oneTimeTokens.issueLink(tx, user.id, 'EXCHANGE')
          return { email: user.email, exchangeToken: token }
        })
      } catch (error) {
        if (error instanceof DomainError) await refuse(db, client, 'EMAIL_VERIFIED', error.code)
        throw error
      }
    },

    /** Has a verification mail sent again, where there is something to verify. Says nothing about whether there is. */
    resendVerificationEmail: (client: Client, email: string): Promise<void> =>
      mailRequests.ask(db, client, { kind: 'VERIFICATION', email }),
  }
}

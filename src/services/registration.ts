import { DomainError, InvalidTokenError, UsernameTakenError } from '../errors.js'
import { normalizeEmail, normalizeUsername } from '../identifiers.js'
import type { Clock } from '../ports.js'
import { type Accounts, isTaken } from './accounts.js'
import type { Audit, AuditEntry } from './audit.js'
import type { Client } from './client.js'
import type { Database, Transaction } from './database.js'
import type { Links } from './links.js'
import type { Mails } from './mails.js'
import type { NewPassword, NewPasswords } from './new-passwords.js'
import type { OneTimeTokens, Proof } from './one-time-tokens.js'
import type { UserRecord } from './records.js'

interface Deps {
  db: Database
  clock: Clock
  audit: Audit
  accounts: Accounts
  mails: Mails
  links: Links
  oneTimeTokens: OneTimeTokens
  newPasswords: NewPasswords
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
  const { db, clock, audit, accounts, mails, links, oneTimeTokens, newPasswords } = deps

  async function sendVerification(tx: Transaction, client: Client, user: UserRecord): Promise<void> {
    const { token, code, lifetimeSeconds } = await oneTimeTokens.issue(tx, user.id, 'EMAIL_VERIFICATION')
    await mails.send(tx, user, 'email-verification', { link: links.verifyEmail(token), code, lifetimeSeconds })
    await audit.record(tx, client, { type: 'EMAIL_VERIFICATION_SENT', userId: user.id })
  }

  /** Nothing changes for an address that has an account, but its owner is told. */
  async function tellOwner(tx: Transaction, client: Client, owner: UserRecord): Promise<void> {
    await mails.send(tx, owner, 'existing-account', {})
    await audit.record(tx, client, {
      type: 'REGISTERED',
      success: false,
      userId: owner.id,
      metadata: { reason: 'ALREADY_REGISTERED' },
    })
  }

  async function create(
    tx: Transaction,
    client: Client,
    input: Registration,
    passwordHash: string,
  ): Promise<UserRecord> {
    const now = clock.now()
    const { password: _, username, locale, timezone, ...names } = input
    const pendingUntil = deps.requireVerifiedEmail ? new Date(now.getTime() + deps.verificationLifetimeMs) : null
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
        pendingUntil,
        termsAcceptedAt: now,
        privacyAcceptedAt: now,
        createdAt: now,
        passwordHistory: { create: { passwordHash, createdAt: now } },
      },
      select: { id: true },
    })
    const user = await accounts.findById(tx, id)
    await audit.record(tx, client, { type: 'REGISTERED', userId: id })
    await sendVerification(tx, client, user)
    return user
  }

  const refuse = async (client: Client, type: AuditEntry['type'], reason: string): Promise<void> =>
    audit.record(db, client, { type, success: false, metadata: { reason } })

  async function store(client: Client, input: Registration, accepted: NewPassword): Promise<void> {
    await db.transaction(async (tx) => {
      if (input.username) await accounts.assertUsernameFree(tx, input.username)
      const owner = await accounts.findByEmail(tx, normalizeEmail(input.email))
      if (owner && !owner.pendingUntil) return tellOwner(tx, client, owner)
      const user = await create(tx, client, input, accepted.hash)
      await accepted.settle(tx, user.id)
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
        // Where no verification is awaited, another registration of the address may win in between: it is the owner now.
        await attempt().catch((error) => (isTaken(error, 'email') ? attempt() : Promise.reject(error)))
      } catch (error) {
        const refusal = isTaken(error, 'username') ? new UsernameTakenError() : error
        if (refusal instanceof DomainError) await refuse(client, 'REGISTERED', refusal.code)
        throw refusal
      }
    },

    /** Proves the address and gives a token that signs the new user in. Throws InvalidTokenError. */
    async verifyEmail(client: Client, proof: Proof): Promise<{ email: string; exchangeToken: string }> {
      try {
        const found = await oneTimeTokens.find('EMAIL_VERIFICATION', proof)
        if (!found) throw new InvalidTokenError()
        return await db.transaction(async (tx) => {
          if (!(await oneTimeTokens.claim(tx, found))) throw new InvalidTokenError()
          const user = await accounts.establish(tx, found.userId)
          await audit.record(tx, client, { type: 'EMAIL_VERIFIED', userId: user.id })
          const { token } = await oneTimeTokens.issue(tx, user.id, 'EXCHANGE')
          return { email: user.email, exchangeToken: token }
        })
      } catch (error) {
        if (error instanceof DomainError) await refuse(client, 'EMAIL_VERIFIED', error.code)
        throw error
      }
    },

    /** Sends the verification mail again, where there is something to verify. Says nothing about whether there is. */
    async resendVerificationEmail(client: Client, email: string): Promise<void> {
      await db.transaction(async (tx) => {
        const user = await accounts.findByEmail(tx, normalizeEmail(email))
        if (user?.isActive && !user.emailVerifiedAt) return sendVerification(tx, client, user)
        const entry = { type: 'EMAIL_VERIFICATION_SENT', success: false, userId: user?.id ?? null } as const
        await audit.record(tx, client, {
          ...entry,
          metadata: { reason: user ? 'NOTHING_TO_VERIFY' : 'UNKNOWN_ACCOUNT' },
        })
      })
    },
  }
}

import { DomainError, InvalidTokenError, UsernameTakenError } from '../errors.js'
import { normalizeEmail, normalizeUsername } from '../identifiers.js'
import type { Clock, PasswordHasher } from '../ports.js'
import { type Accounts, isTaken } from './accounts.js'
import type { Audit, AuditEntry } from './audit.js'
import type { Client } from './client.js'
import type { Database, Transaction } from './database.js'
import type { Links } from './links.js'
import type { Mails } from './mails.js'
import type { NewPassword, NewPasswords } from './new-passwords.js'
import type { OneTimeTokens, Proof } from './one-time-tokens.js'
import type { UserRecord } from './records.js'
import type { Sessions } from './sessions.js'
import { createUnusableHash } from './unusable-hash.js'

interface Deps {
  db: Database
  clock: Clock
  audit: Audit
  accounts: Accounts
  mails: Mails
  links: Links
  oneTimeTokens: OneTimeTokens
  newPasswords: NewPasswords
  hasher: PasswordHasher
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

/** The mark of an address that was registered once more stays until the address is proven. */
const NEVER = new Date('9999-01-01')

const isUnproven = (user: UserRecord) => user.isActive && !user.emailVerifiedAt

export function createRegistration(deps: Deps) {
  const { db, clock, audit, accounts, mails, links, oneTimeTokens, newPasswords, hasher, sessions } = deps
  const pendingUntil = () => new Date(clock.now().getTime() + deps.verificationLifetimeMs)
  const getUnusableHash = createUnusableHash(hasher)

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

  /**
   * A mail that was asked for by the address alone belongs to none of the several registrations that share it: what it
   * confirms is a registration without a password. It is kept, and with it the wrong codes that count for the address.
   */
  async function withoutPassword(
    tx: Transaction,
    email: string,
    passwordHash: string,
    until = pendingUntil(),
  ): Promise<UserRecord> {
    const { prisma } = tx
    const now = clock.now()
    const emailNormalized = normalizeEmail(email)
    const data = { pendingUntil: until }
    const where = { emailNormalized, pendingUntil: { not: null }, passwordHistory: { none: {} } }
    const earlier = await prisma.user.findFirst({ where, select: { id: true } })
    if (earlier) await prisma.user.updateMany({ where: { id: earlier.id }, data })
    const fresh = { ...data, email, emailNormalized, passwordHash, passwordChangedAt: now, createdAt: now }
    const { id } = earlier ?? (await prisma.user.create({ data: fresh, select: { id: true } }))
    return accounts.findById(tx, id)
  }

  /**
   * An account that can be used before its address is proven may be a squatter's, if somebody has registered the address
   * once more: whoever proves it gets the account, but nobody's password and none of its sessions.
   */
  async function disown(tx: Transaction, client: Client, userId: string, passwordHash: string): Promise<void> {
    const { prisma } = tx
    const user = await prisma.user.findUnique({ where: { id: userId } })
    if (!user || user.pendingUntil || user.emailVerifiedAt) return
    const { emailNormalized } = user
    if ((await prisma.user.count({ where: { emailNormalized, pendingUntil: { not: null } } })) === 0) return
    await prisma.user.updateMany({ where: { id: userId }, data: { passwordHash, passwordChangedAt: clock.now() } })
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
  ): Promise<UserRecord> {
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
        pendingUntil: isPending ? pendingUntil() : null,
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
    const unusableHash = await getUnusableHash()
    await db.transaction(async (tx) => {
      if (input.username) await accounts.assertUsernameFree(tx, input.username)
      const owner = await accounts.findByEmail(tx, normalizeEmail(input.email))
      if (owner && !owner.pendingUntil) {
        if (isUnproven(owner)) await withoutPassword(tx, owner.email, unusableHash, NEVER)
        return tellOwner(tx, client, owner)
      }
      const user = await create(tx, client, input, accepted.hash, deps.requireVerifiedEmail || owner !== null)
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
        // Where no verification is awaited, another registration of the address may come first in between.
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
        const hash = await getUnusableHash()
        return await db.transaction(async (tx) => {
          await disown(tx, client, found.userId, hash)
          const user = await accounts.establish(tx, found.userId)
          if (!(await oneTimeTokens.claim(tx, found))) throw new InvalidTokenError()
          await askForPassword(tx, client, user)
          await audit.record(tx, client, { type: 'EMAIL_VERIFIED', userId: user.id })
          const { token } = await oneTimeTokens.issue(tx, user.id, 'EXCHANGE')
          return { email: user.email, exchangeToken: token }
        })
      } catch (error) {
        if (error instanceof DomainError) await refuse(client, 'EMAIL_VERIFIED', error.code)
        throw error
      }
    },

    /**
     * Sends a verification mail again, where there is something to verify. Says nothing about whether there is. Where
     * several registrations share the address, what the mail confirms keeps none of their passwords.
     */
    async resendVerificationEmail(client: Client, email: string): Promise<void> {
      const hash = await getUnusableHash()
      await db.transaction(async (tx) => {
        const emailNormalized = normalizeEmail(email)
        const user = await accounts.findByEmail(tx, emailNormalized)
        if (user && isUnproven(user)) {
          const others = await tx.prisma.user.count({ where: { emailNormalized, id: { not: user.id } } })
          const registration = others > 0 && user.pendingUntil ? await withoutPassword(tx, email, hash) : user
          return sendVerification(tx, client, registration)
        }
        const entry = { type: 'EMAIL_VERIFICATION_SENT', success: false, userId: user?.id ?? null } as const
        await audit.record(tx, client, {
          ...entry,
          metadata: { reason: user ? 'NOTHING_TO_VERIFY' : 'UNKNOWN_ACCOUNT' },
        })
      })
    },
  }
}

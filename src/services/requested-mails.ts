import type { Origin } from '../emails/kinds.js'
import { normalizeEmail } from '../identifiers.js'
import type { Clock, Jobs, PasswordHasher } from '../ports.js'
import { type Accounts, isUnproven } from './accounts.js'
import type { Audit, AuditEntry } from './audit.js'
import { type Client, plainOriginOf } from './client.js'
import type { Database, Transaction } from './database.js'
import type { Links } from './links.js'
import type { LimitedMail, MailQuotas } from './mail-quotas.js'
import type { MailRequest, MailRequests } from './mail-requests.js'
import type { Mails } from './mails.js'
import type { OneTimeTokens } from './one-time-tokens.js'
import type { Records, UserRecord } from './records.js'

interface Deps {
  db: Database
  clock: Clock
  audit: Audit
  accounts: Accounts
  records: Records
  jobs: Jobs
  mailRequests: MailRequests
  quotas: MailQuotas
  mails: Mails
  links: Links
  oneTimeTokens: OneTimeTokens
  hasher: PasswordHasher
  /** Of a registration without a password: no shorter than that of any mail about it. */
  emptyLifetimeMs: number
}

/** One request that is being carried out. */
interface Errand {
  tx: Transaction
  client: Client
  at: Date
}

/**
 * What the requests ask for that only write down what they ask for: by a worker, in the name of the client. Each has one
 * event, whatever is found, those about locks none: how many there are must not tell what was found.
 */
export function createRequestedMails(deps: Deps) {
  const { db, clock, audit, accounts, records, jobs, mailRequests, quotas, mails, links, oneTimeTokens, hasher } = deps

  const unsent = (type: AuditEntry['type'], userId: string | null, reason: string): AuditEntry => ({
    type,
    success: false,
    userId,
    metadata: { reason },
  })

  /** The mail says from where the registration was made that it confirms: its reader may be another. */
  async function sendVerification(errand: Errand, user: UserRecord, quota: LimitedMail): Promise<void> {
    const { tx, client } = errand
    if (!(await quotas.allow(tx, client, user, quota))) return
    const select = { registeredFrom: true, pendingUntil: true }
    const { registeredFrom, pendingUntil } = await tx.prisma.user.findUniqueOrThrow({ where: { id: user.id }, select })
    if (pendingUntil && pendingUntil <= clock.now())
      return audit.record(tx, client, unsent('EMAIL_VERIFICATION_SENT', user.id, 'NOTHING_TO_VERIFY'))
    const issued = await oneTimeTokens.issue(tx, user.id, 'EMAIL_VERIFICATION', pendingUntil ?? undefined)
    const { token, code, lifetimeSeconds } = issued
    const proof = { link: links.verifyEmail(token), code, lifetimeSeconds }
    const origin = (registeredFrom as unknown as Origin | null) ?? plainOriginOf(client, errand.at)
    await mails.send(tx, user, 'email-verification', { ...proof, ...origin })
    await audit.record(tx, client, { type: 'EMAIL_VERIFICATION_SENT', userId: user.id })
  }

  /**
   * A mail that was asked for by the address alone belongs to none of the several registrations that share it: what it
   * confirms is a registration without a password, of the address as it was spelt there. It is kept for the next one.
   */
  async function withoutPassword({ tx, client, at }: Errand, email: string): Promise<UserRecord> {
    const { prisma } = tx
    const now = clock.now()
    const emailNormalized = normalizeEmail(email)
    const data = {
      pendingUntil: new Date(now.getTime() + deps.emptyLifetimeMs),
      registeredFrom: plainOriginOf(client, at),
    }
    const where = { email, emailNormalized, passwordHistory: { none: {} } }
    const earlier = await prisma.user.findFirst({ where, select: { id: true } })
    if (earlier) {
      const { count } = await prisma.user.updateMany({ where: { id: earlier.id, pendingUntil: { not: null } }, data })
      // Tried again, the job finds the account.
      if (count === 0) throw new Error('The registration was confirmed meanwhile')
    }
    const fresh = {
      ...data,
      email,
      emailNormalized,
      passwordHash: hasher.unusable,
      passwordChangedAt: now,
      createdAt: now,
    }
    const { id } = earlier ?? (await prisma.user.create({ data: fresh, select: { id: true } }))
    return accounts.findById(tx, id)
  }

  /** A registration is verified by its mail; where the address has an account, its owner is told, and nothing changes. */
  async function announceRegistration(errand: Errand, userId: string): Promise<void> {
    const { tx, client, at } = errand
    const user = await records.freshUser(userId, tx.sql)
    if (!user || !isUnproven(user)) return
    const owner = await accounts.findByEmail(tx, normalizeEmail(user.email))
    if (!owner || owner.pendingUntil || owner.id === user.id) return sendVerification(errand, user, 'registration')
    const where = { id: owner.id, emailVerifiedAt: null }
    await tx.prisma.user.updateMany({ where, data: { isContested: true } })
    if (!(await quotas.allow(tx, client, owner, 'existing-account'))) return
    await mails.send(tx, owner, 'existing-account', plainOriginOf(client, at))
    await audit.record(tx, client, unsent('EMAIL_VERIFICATION_SENT', owner.id, 'ALREADY_REGISTERED'))
  }

  /** Where several registrations share the address, what the mail confirms keeps none of their passwords. */
  async function verifyAgain(errand: Errand, email: string): Promise<void> {
    const { tx, client } = errand
    const emailNormalized = normalizeEmail(email)
    const user = await accounts.findByEmail(tx, emailNormalized)
    if (!user || !isUnproven(user)) {
      const reason = user ? 'NOTHING_TO_VERIFY' : 'UNKNOWN_ACCOUNT'
      return audit.record(tx, client, unsent('EMAIL_VERIFICATION_SENT', user?.id ?? null, reason))
    }
    const others = await tx.prisma.user.count({ where: { emailNormalized, id: { not: user.id } } })
    const isShared = others > 0 && user.pendingUntil !== null
    const registered = isShared ? await withoutPassword(errand, email) : user
    await sendVerification(errand, registered, 'email-verification')
  }

  /** What waits for its verification may be anybody's: the reset of an address that has no account yet makes it an empty one. */
  async function reset(errand: Errand, email: string): Promise<void> {
    const { tx, client } = errand
    const type = 'PASSWORD_RESET_REQUESTED'
    const user = await accounts.findByEmail(tx, normalizeEmail(email))
    if (!user?.isActive) {
      return audit.record(tx, client, unsent(type, user?.id ?? null, user ? 'DEACTIVATED' : 'UNKNOWN_ACCOUNT'))
    }
    // Detection counts those that were withheld, too.
    if (!(await quotas.allow(tx, client, user, 'password-reset', type))) return
    const target = user.pendingUntil ? await withoutPassword(errand, email) : user
    await mails.sendReset(tx, target)
    await audit.record(tx, client, { type, userId: target.id })
  }

  async function announceLock(errand: Errand, userId: string | null, lockedUntil: string): Promise<void> {
    const user = userId && (await records.freshUser(userId, errand.tx.sql))
    if (!user || !(await quotas.take(errand.tx, user, 'account-locked'))) return
    await mails.send(errand.tx, user, 'account-locked', { ...plainOriginOf(errand.client, errand.at), lockedUntil })
  }

  function carryOut(errand: Errand, request: MailRequest): Promise<void> {
    if (request.kind === 'REGISTRATION') return announceRegistration(errand, request.userId)
    if (request.kind === 'VERIFICATION') return verifyAgain(errand, request.email)
    if (request.kind === 'RESET') return reset(errand, request.email)
    return announceLock(errand, request.userId, request.lockedUntil)
  }

  return {
    /** Does what a job asks for, once, however often the job is tried: it is done with the transaction. */
    async fulfil(jobId: string, sealed: string): Promise<void> {
      const { request, client, at } = mailRequests.open(sealed)
      await db.transaction(async (tx) => {
        if (await jobs.complete(tx.sql, 'mail-request', jobId)) await carryOut({ tx, client, at }, request)
      })
    },
  }
}

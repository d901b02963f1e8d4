import { InvalidTokenError } from '../errors.js'
import { Prisma } from '../generated/prisma/client.js'
import type { Clock, PasswordHasher } from '../ports.js'
import type { Transaction } from './database.js'
import { type Records, USER_COLUMNS, type UserRecord } from './records.js'
import type { Throttle } from './throttle.js'

const BY_EMAIL = `
  SELECT ${USER_COLUMNS} FROM users u WHERE u.email_normalized = $1::text
  ORDER BY u.pending_until DESC NULLS FIRST, u.created_at DESC LIMIT 1`

const OWNER = `
  SELECT u.id, u.pending_until IS NULL AS "isEstablished" FROM users u WHERE u.email_normalized = $1::text
  ORDER BY u.pending_until DESC NULLS FIRST LIMIT 1`

// In one order, so that of several verifications of an address the first is through before the next one looks.
const LOCK = `
  SELECT u.id, u.pending_until IS NOT NULL AS "isPending", u.email_verified_at IS NOT NULL AS "isProven",
         u.is_contested AS "isContested"
  FROM users u
  WHERE u.email_normalized = (SELECT email_normalized FROM users WHERE id = $1::uuid)
  ORDER BY u.id FOR UPDATE`

// Later than the last change, whatever the clocks say.
const TAKE_PASSWORD = `
  UPDATE users SET password_hash = $2::text,
                   password_changed_at = greatest($3::timestamptz, password_changed_at + interval '1 millisecond')
  WHERE id = $1::uuid`

interface Claimant {
  id: string
  isPending: boolean
  isProven: boolean
  isContested: boolean
}

/** Of an account of which nobody knows who has filled it in. */
const EMPTY_PROFILE = {
  username: null,
  usernameNormalized: null,
  firstName: null,
  lastName: null,
  displayName: null,
  locale: 'en',
  timezone: 'UTC',
  termsAcceptedAt: null,
  privacyAcceptedAt: null,
}

/** True when the database refused a second row with the same value of that column. */
export const isTaken = (error: unknown, column: string): boolean =>
  error instanceof Prisma.PrismaClientKnownRequestError &&
  error.code === 'P2002' &&
  JSON.stringify(error.meta).includes(column)

/** Waits for its verification, or can be used without one and has not had it. */
export const isUnproven = (user: UserRecord): boolean => user.isActive && !user.emailVerifiedAt

interface Deps {
  clock: Clock
  hasher: PasswordHasher
  records: Records
  throttle: Throttle
}

/** What the services that change accounts share. */
export function createAccounts({ clock, hasher, records, throttle }: Deps) {
  /** Within the transaction that has just written it. */
  async function findById(tx: Transaction, id: string): Promise<UserRecord> {
    const user = await records.freshUser(id, tx.sql)
    if (!user) throw new Error('The account is gone')
    return user
  }

  const lockClaimants = (tx: Transaction, userId: string) => tx.sql<Claimant>(LOCK, [userId])

  return {
    findById,

    /** Puts the hash that no password has in the place of the account's. Its row stays locked until the commit. */
    takePassword: async (tx: Transaction, userId: string): Promise<void> =>
      void (await tx.sql(TAKE_PASSWORD, [userId, hasher.unusable, clock.now()])),

    /** The established account of an address, else the latest registration that waits for its verification. */
    async findByEmail(tx: Transaction, emailNormalized: string): Promise<UserRecord | null> {
      const [user] = await tx.sql<UserRecord>(BY_EMAIL, [emailNormalized])
      return user ?? null
    },

    /** Who has an address already; as little as that takes, because it is asked for at every registration. */
    async ownerOf(tx: Transaction, emailNormalized: string): Promise<{ id: string; isEstablished: boolean } | null> {
      const [owner] = await tx.sql<{ id: string; isEstablished: boolean }>(OWNER, [emailNormalized])
      return owner ?? null
    },

    /** All that are registered for the address of an account, before anything else is written there. */
    lockClaimants,

    /**
     * The address is proven: the account owns it from now on, and what else was registered for it is gone, with its
     * tokens: once, for what comes later tells nobody whether its owner has been there. An account that could be used
     * before, and whose address was registered once more, keeps nobody's words. Throws InvalidTokenError when another
     * registration was proven first.
     */
    async establish(tx: Transaction, userId: string): Promise<UserRecord> {
      const rows = await lockClaimants(tx, userId)
      const own = rows.find(({ id }) => id === userId)
      if (!own) throw new InvalidTokenError()
      if (own.isProven) return findById(tx, userId)
      const otherIds = rows.filter(({ id, isPending }) => isPending && id !== userId).map(({ id }) => id)
      await tx.prisma.user.deleteMany({ where: { id: { in: otherIds } } })
      try {
        const isContested = own.isContested || (!own.isPending && otherIds.length > 0)
        const proven = { pendingUntil: null, emailVerifiedAt: clock.now(), isContested: false }
        await tx.prisma.user.updateMany({
          where: { id: userId },
          data: { ...proven, registeredFrom: Prisma.DbNull, ...(isContested && EMPTY_PROFILE) },
        })
      } catch (error) {
        throw isTaken(error, 'email') ? new InvalidTokenError() : error
      }
      await tx.afterCommit(() => records.forget({ userIds: [userId, ...otherIds] }))
      const user = await findById(tx, userId)
      if (own.isPending) await throttle.adopt(tx, user.email, userId)
      return user
    },
  }
}

export type Accounts = ReturnType<typeof createAccounts>

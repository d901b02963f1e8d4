import { InvalidTokenError, UsernameTakenError } from '../errors.js'
import { Prisma } from '../generated/prisma/client.js'
import { normalizeUsername } from '../identifiers.js'
import type { Clock } from '../ports.js'
import type { Transaction } from './database.js'
import { type Records, USER_COLUMNS, type UserRecord } from './records.js'

const BY_EMAIL = `
  SELECT ${USER_COLUMNS} FROM users u WHERE u.email_normalized = $1::text
  ORDER BY u.pending_until DESC NULLS FIRST, u.created_at DESC LIMIT 1`

/** True when the database refused a second row with the same value of that column. */
export const isTaken = (error: unknown, column: string): boolean =>
  error instanceof Prisma.PrismaClientKnownRequestError &&
  error.code === 'P2002' &&
  JSON.stringify(error.meta).includes(column)

/** What the services that change accounts share. */
export function createAccounts({ clock, records }: { clock: Clock; records: Records }) {
  /** Within the transaction that has just written it. */
  async function findById(tx: Transaction, id: string): Promise<UserRecord> {
    const user = await records.freshUser(id, tx.sql)
    if (!user) throw new Error('The account is gone')
    return user
  }

  return {
    findById,

    /** The established account of an address, else the latest registration that waits for its verification. */
    async findByEmail(tx: Transaction, emailNormalized: string): Promise<UserRecord | null> {
      const [user] = await tx.sql<UserRecord>(BY_EMAIL, [emailNormalized])
      return user ?? null
    },

    /** Throws UsernameTakenError when anybody, registered or still waiting, has the username. */
    async assertUsernameFree(tx: Transaction, username: string, exceptUserId?: string): Promise<void> {
      const found = await tx.prisma.user.findUnique({
        where: { usernameNormalized: normalizeUsername(username) },
        select: { id: true },
      })
      if (found && found.id !== exceptUserId) throw new UsernameTakenError()
    },

    /**
     * The address is proven: the account owns it from now on, and what else was registered for it is gone, with its
     * sessions. Throws InvalidTokenError when another registration was proven first.
     */
    async establish(tx: Transaction, userId: string): Promise<UserRecord> {
      const { emailNormalized } = await tx.prisma.user.findUniqueOrThrow({ where: { id: userId } })
      const others = await tx.prisma.user.findMany({
        where: { emailNormalized, pendingUntil: { not: null }, id: { not: userId } },
        select: { id: true },
      })
      const otherIds = others.map((other) => other.id)
      await tx.prisma.user.deleteMany({ where: { id: { in: otherIds } } })
      try {
        await tx.prisma.user.updateMany({ where: { id: userId }, data: { pendingUntil: null } })
        await tx.prisma.user.updateMany({
          where: { id: userId, emailVerifiedAt: null },
          data: { emailVerifiedAt: clock.now() },
        })
      } catch (error) {
        throw isTaken(error, 'email') ? new InvalidTokenError() : error
      }
      await tx.afterCommit(() => records.forget({ userIds: [userId, ...otherIds] }))
      return findById(tx, userId)
    },
  }
}

export type Accounts = ReturnType<typeof createAccounts>

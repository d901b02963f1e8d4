import { InvalidTokenError, UsernameTakenError } from '../errors.js'
import { normalizeEmail, normalizeIdentifier, normalizeUsername } from '../identifiers.js'
import type { Clock } from '../ports.js'
import { type Accounts, isTaken } from './accounts.js'
import type { Audit, AuditEntry } from './audit.js'
import type { Client } from './client.js'
import type { Database, Transaction } from './database.js'
import type { NewPasswords } from './new-passwords.js'
import type { Records, UserRecord } from './records.js'
import type { Sessions } from './sessions.js'
import type { Throttle } from './throttle.js'

interface Deps {
  db: Database
  clock: Clock
  audit: Audit
  accounts: Accounts
  newPasswords: NewPasswords
  records: Records
  sessions: Sessions
  throttle: Throttle
}

export interface NewAccount {
  email: string
  username: string | null
  roleName: string
  password: string
}

type Authority = { roleName: string } | { grantedPermissions: string[] }

const GRANTED = 'SELECT granted_permissions AS granted FROM users WHERE id = $1::uuid FOR UPDATE'

/** What operators do to accounts. */
export function createAdministration(deps: Deps) {
  const { db, clock, audit, accounts, newPasswords, records, sessions, throttle } = deps

  /** By e-mail, username or id; established accounts only. Throws when there is none. */
  async function find(identifier: string): Promise<UserRecord> {
    const key = normalizeIdentifier(identifier)
    const isUuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(identifier)
    const found = await db.prisma.user.findFirst({
      where: {
        pendingUntil: null,
        OR: [{ emailNormalized: key }, { usernameNormalized: key }, ...(isUuid ? [{ id: identifier }] : [])],
      },
      select: { id: true },
    })
    const user = found && (await records.freshUser(found.id))
    if (!user) throw new Error(`There is no account "${identifier}"`)
    return user
  }

  async function assertRole(name: string): Promise<void> {
    if (await db.prisma.role.findUnique({ where: { name } })) return
    const roles = await db.prisma.role.findMany({ orderBy: { name: 'asc' } })
    throw new Error(`There is no role "${name}"; there are: ${roles.map((role) => role.name).join(', ')}`)
  }

  /** Another role, or other permissions beyond it, by those that were granted before. */
  const authorize = (
    client: Client,
    userId: string,
    change: (granted: string[]) => Authority,
    metadata: Record<string, unknown>,
  ) =>
    db.transaction(async (tx) => {
      const [row] = await tx.sql<{ granted: string[] }>(GRANTED, [userId])
      const data = change(row?.granted ?? [])
      await tx.prisma.user.update({ where: { id: userId }, data, select: { id: true } })
      await audit.record(tx, client, { type: 'PROFILE_UPDATED', userId, metadata })
      await tx.afterCommit(() => records.forget({ userIds: [userId] }))
      return accounts.findById(tx, userId)
    })

  /** Returns whether that changes anything; nothing is recorded otherwise. */
  async function setActive(tx: Transaction, client: Client, userId: string, isActive: boolean): Promise<boolean> {
    const { count } = await tx.prisma.user.updateMany({
      where: { id: userId, isActive: !isActive },
      data: { isActive },
    })
    if (count === 0) return false
    await audit.record(tx, client, { type: 'PROFILE_UPDATED', userId, metadata: { fields: ['isActive'], isActive } })
    await tx.afterCommit(() => records.forget({ userIds: [userId] }))
    return true
  }

  return {
    find,

    /** Makes an account whose address counts as verified. Throws when the address, username or password is refused. */
    async create(client: Client, account: NewAccount): Promise<UserRecord> {
      const { email, username, roleName, password } = account
      await assertRole(roleName)
      const accepted = await newPasswords.accept(password, { email, username })
      const passwordHash = accepted.hash
      const now = clock.now()
      try {
        return await db.transaction(async (tx) => {
          const { id } = await tx.prisma.user.create({
            data: {
              email,
              emailNormalized: normalizeEmail(email),
              roleName,
              createdAt: now,
              pendingUntil: now,
              username,
              usernameNormalized: username && normalizeUsername(username),
              passwordHash,
              passwordChangedAt: now,
              passwordHistory: { create: { passwordHash, createdAt: now } },
            },
            select: { id: true },
          })
          const user = await accounts.establish(tx, id)
          await accepted.settle(tx, id)
          const registered: AuditEntry = { type: 'REGISTERED', userId: id, metadata: { role: roleName } }
          await audit.record(tx, client, registered, { type: 'EMAIL_VERIFIED', userId: id })
          return user
        })
      } catch (error) {
        if (isTaken(error, 'username')) throw new UsernameTakenError()
        throw error instanceof InvalidTokenError ? new Error(`There is an account with the address ${email}`) : error
      }
    },

    list: (limit: number) =>
      db.prisma.user.findMany({
        select: {
          id: true,
          email: true,
          username: true,
          roleName: true,
          isActive: true,
          emailVerifiedAt: true,
          pendingUntil: true,
          lastLoginAt: true,
        },
        orderBy: { createdAt: 'desc' },
        take: limit,
      }),

    /** Gives a role, or a single permission beyond the role. Throws when neither has that name. */
    async grant(client: Client, identifier: string, name: string): Promise<UserRecord> {
      const user = await find(identifier)
      const [role, permission] = await Promise.all([
        db.prisma.role.findUnique({ where: { name } }),
        db.prisma.permission.findUnique({ where: { name } }),
      ])
      if (!role && !permission) throw new Error(`There is no role and no permission "${name}"`)
      const change = (granted: string[]) =>
        role ? { roleName: name } : { grantedPermissions: [...new Set([...granted, name])] }
      return authorize(client, user.id, change, { fields: [role ? 'role' : 'permissions'], granted: name })
    },

    /** Takes back a permission beyond the role. Throws when the account has no such one. */
    async revoke(client: Client, identifier: string, permission: string): Promise<UserRecord> {
      const user = await find(identifier)
      const change = (granted: string[]) => {
        if (granted.includes(permission)) return { grantedPermissions: granted.filter((name) => name !== permission) }
        throw new Error(
          `${user.email} was not given the permission "${permission}"; a role goes when another one is granted`,
        )
      }
      return authorize(client, user.id, change, { fields: ['permissions'], revoked: permission })
    },

    /** Lifts a lock. Returns whether there was one. */
    async unlock(client: Client, identifier: string): Promise<boolean> {
      const user = await find(identifier)
      return db.transaction((tx) => throttle.clear(tx, client, user.id))
    },

    /** Ends every session of the account and refuses it from now on. Says whether it was active, and how many of them were. */
    async deactivate(client: Client, identifier: string): Promise<{ wasActive: boolean; endedSessions: number }> {
      const { id } = await find(identifier)
      return db.transaction(async (tx) => {
        const wasActive = await setActive(tx, client, id, false)
        const ended = await sessions.end(tx, client, id, 'ADMIN')
        return { wasActive, endedSessions: ended.length }
      })
    },

    /** Takes a deactivation back; the sessions that it has ended stay so. Returns whether the account was active before. */
    async activate(client: Client, identifier: string): Promise<boolean> {
      const { id } = await find(identifier)
      return db.transaction(async (tx) => !(await setActive(tx, client, id, true)))
    },
  }
}

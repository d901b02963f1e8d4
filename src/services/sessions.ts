import { v7 as uuid } from 'uuid'
import type { KeyRing } from '../crypto/key-ring.js'
import { firstRefreshToken } from '../crypto/refresh-tokens.js'
import { sha256 } from '../crypto/secrets.js'
import { AccountLockedError, InvalidCredentialsError, RequestError, SessionNotFoundError } from '../errors.js'
import type { SessionEndReason } from '../generated/prisma/client.js'
import type { Clock, EventBus } from '../ports.js'
import type { Audit, AuditEntry } from './audit.js'
import { type Client, describeDevice } from './client.js'
import type { Database, Transaction } from './database.js'
import type { Records, SessionRecord, UserRecord } from './records.js'
import { createSessionLists } from './session-lists.js'
import { END, EVICT, LOCK_ACCOUNTS, OPEN, TOUCH } from './session-statements.js'

interface Deps {
  db: Database
  clock: Clock
  audit: Audit
  records: Records
  bus: EventBus
  keys: KeyRing
  lifetimes: { lifetimeMs: number; rememberMeLifetimeMs: number; idleTimeoutMs: number; maxConcurrent: number }
}

export interface OpenSession {
  userId: string
  deviceName: string | null
  rememberMe: boolean
  /** Authentication methods, RFC 8176. */
  amr: string[]
  /** What to record beside SESSION_CREATED. */
  events: AuditEntry[]
  /** Refuses when the account was locked, deactivated or given another password since it was looked up. */
  guard: { passwordHash: string | null; throttleKey: string | null }
}

/** Which of an account's sessions to end: those listed, or all but one, or all. */
export interface Selection {
  ids?: readonly string[]
  except?: string
}

interface Opened {
  isOpen: boolean
  lockedUntil: Date | null
  endedIds: string[]
  /** Perhaps by another session of the account, which it did not count. */
  isOvertaken: boolean
  /** As it was before. */
  user: UserRecord
}

/** The bus's channel for ids of sessions that have just ended. */
export const SESSIONS_ENDED = 'sessions-ended'

/** Activity is noted so often at most, or more often where sessions end early without any. */
const ACTIVITY_EVERY_MS = 60_000

export function createSessions({ db, clock, audit, records, bus, keys, lifetimes }: Deps) {
  const activityEveryMs = Math.min(ACTIVITY_EVERY_MS, lifetimes.idleTimeoutMs / 10)

  /** When a session ends by itself unless there is activity: at its expiry, or after too long without any. */
  const dueAt = ({ lastActivityAt, expiresAt }: SessionRecord): Date =>
    new Date(Math.min(expiresAt.getTime(), lastActivityAt.getTime() + lifetimes.idleTimeoutMs))

  /** Whoever was active last before that has been idle for too long. */
  const idleSince = (now: Date): Date => new Date(now.getTime() - lifetimes.idleTimeoutMs)

  /** When and why a session has ended, if it has. */
  const endOf = (session: SessionRecord): { endedAt: Date; endReason: SessionEndReason } | null => {
    if (session.endedAt) return { endedAt: session.endedAt, endReason: session.endReason ?? 'TERMINATED' }
    const endedAt = dueAt(session)
    return endedAt <= clock.now() ? { endedAt, endReason: 'EXPIRED' } : null
  }

  /** Makes it known that sessions have ended: no cache may say otherwise, no connection of theirs stays open. */
  const publishEnd = (tx: Transaction, ids: readonly string[]) =>
    tx.afterCommit(async () => {
      if (ids.length === 0) return
      await records.forget({ sessionIds: ids })
      bus.publish(SESSIONS_ENDED, JSON.stringify(ids))
    })

  /** Ends sessions and records SESSION_TERMINATED, or `type`, for each. Returns the ids of those that were active. */
  async function end(
    tx: Transaction,
    client: Client,
    userId: string,
    reason: SessionEndReason,
    { ids, except }: Selection = {},
    type: 'SESSION_TERMINATED' | 'LOGGED_OUT' = 'SESSION_TERMINATED',
  ): Promise<string[]> {
    const now = clock.now()
    const rows = await tx.sql<{ id: string; wasActive: boolean }>(END, [
      now,
      reason,
      userId,
      idleSince(now),
      ids?.join(',') ?? null,
      except ?? null,
      audit.toJson(client, [{ type, metadata: { reason } }]),
    ])
    await publishEnd(
      tx,
      rows.map((row) => row.id),
    )
    await audit.announce(tx)
    return rows.filter((row) => row.wasActive).map((row) => row.id)
  }

  return {
    dueAt,
    endOf,
    end,

    /**
     * Opens a session with its first refresh token in one statement, and ends the oldest ones above the cap.
     * The account's row is locked first, so that nothing slips past a change of password or a deactivation that runs at
     * the same time. Throws AccountLockedError and InvalidCredentialsError when the guard does not hold.
     */
    async open(
      tx: Transaction,
      client: Client,
      input: OpenSession,
    ): Promise<{ session: SessionRecord; user: UserRecord; refreshToken: string }> {
      const now = clock.now()
      const device = describeDevice(client.userAgent)
      const place = client.locate()
      const session: SessionRecord = {
        id: uuid(),
        userId: input.userId,
        deviceName: input.deviceName ?? device.name,
        deviceType: device.deviceType,
        browser: device.browser,
        os: device.os,
        userAgent: client.userAgent,
        deviceFingerprint: device.fingerprint,
        ipAddress: client.ipAddress,
        ...place,
        rememberMe: input.rememberMe,
        amr: input.amr,
        secondFactorAt: null,
        createdAt: now,
        lastActivityAt: now,
        lastRotationAt: null,
        expiresAt: new Date(now.getTime() + (input.rememberMe ? lifetimes.rememberMeLifetimeMs : lifetimes.lifetimeMs)),
        endedAt: null,
        endReason: null,
      }
      const refreshToken = firstRefreshToken(keys.current, input.userId)
      const evicted = audit.toJson(client, [{ type: 'SESSION_TERMINATED', metadata: { reason: 'TOO_MANY_SESSIONS' } }])
      const [row] = await tx.sql<Opened>(OPEN, [
        ...[session.id, session.userId, session.deviceName, session.deviceType, session.browser, session.os],
        ...[session.userAgent, session.deviceFingerprint, session.ipAddress, session.city, session.country],
        ...[session.rememberMe, session.amr.join(','), now, session.expiresAt, sha256(refreshToken)],
        lifetimes.maxConcurrent,
        audit.toJson(client, [...input.events, { type: 'SESSION_CREATED' }]),
        evicted,
        input.guard.throttleKey,
        input.guard.passwordHash,
        idleSince(now),
      ])
      if (row?.lockedUntil) throw new AccountLockedError(row.lockedUntil, now)
      if (!row?.isOpen) throw new InvalidCredentialsError()
      await tx.afterCommit(() => records.forget({ userIds: [input.userId] }))
      // First: those have ended, whatever becomes of the second look.
      await publishEnd(tx, row.endedIds)
      if (row.isOvertaken) {
        const surplus = [input.userId, now, idleSince(now), lifetimes.maxConcurrent, evicted]
        const more = await tx.sql<{ id: string }>(EVICT, surplus)
        await publishEnd(
          tx,
          more.map(({ id }) => id),
        )
      }
      await audit.announce(tx)
      return { session, user: { ...records.reviveUser(row.user), lastLoginAt: now }, refreshToken }
    },

    /** Gives a session a refresh token of a new family; its earlier ones are no longer known. Throws when it has ended. */
    async reissue(tx: Transaction, { id: sessionId, userId }: SessionRecord): Promise<string> {
      const now = clock.now()
      const refreshToken = firstRefreshToken(keys.current, userId)
      // A rotation holds the lock that this waits for until its successor can be seen; a later one finds no token of its own.
      const data = { lastRotationAt: now, lastActivityAt: now }
      const { count } = await tx.prisma.session.updateMany({ where: { id: sessionId, endedAt: null }, data })
      if (count === 0) throw new RequestError('UNAUTHENTICATED', 'The session has ended.')
      await tx.prisma.refreshToken.deleteMany({ where: { sessionId } })
      await tx.prisma.refreshToken.create({
        data: { hash: sha256(refreshToken), sessionId, state: 'LIVE', createdAt: now },
      })
      await tx.afterCommit(() => records.forget({ sessionIds: [sessionId] }))
      return refreshToken
    },

    /** Ends one of the account's sessions. Throws SessionNotFoundError when it has no such active session. */
    async terminate(client: Client, userId: string, sessionId: string): Promise<SessionRecord> {
      const ended = await end(db, client, userId, 'TERMINATED', { ids: [sessionId] })
      const session = ended.length > 0 ? await records.freshSession(sessionId) : null
      if (session) return session
      await audit.record(db, client, {
        type: 'SESSION_TERMINATED',
        success: false,
        userId,
        metadata: { reason: 'NOT_FOUND' },
      })
      throw new SessionNotFoundError()
    },

    /** Ends every session of the account but one. Returns how many were active. */
    async terminateAll(client: Client, userId: string, except?: string): Promise<number> {
      const ended = await db.transaction(async (tx) => {
        // Before several sessions, as a change of the password, which renews its own last, does: neither waits for the other.
        await tx.sql(LOCK_ACCOUNTS, [userId, null])
        return end(tx, client, userId, 'TERMINATED', except ? { except } : {})
      })
      return ended.length
    },

    list: createSessionLists({ sql: db.sql, clock, idleTimeoutMs: lifetimes.idleTimeoutMs }),

    activityEveryMs,

    /** Notes activity, unless it was noted lately. */
    async touch(sessionId: string): Promise<void> {
      const now = clock.now()
      await db.sql(TOUCH, [sessionId, now, new Date(now.getTime() - activityEveryMs)])
    },
  }
}

export type Sessions = ReturnType<typeof createSessions>

import type { KeyRing } from '../crypto/key-ring.js'
import { isRefreshTokenShaped, openSuccessor, sealSuccessor, successorOf } from '../crypto/refresh-tokens.js'
import { sha256 } from '../crypto/secrets.js'
import { safeName } from '../emails/names.js'
import { InvalidRefreshTokenError, type RefreshFailure } from '../errors.js'
import type { RefreshTokenState } from '../generated/prisma/client.js'
import type { Clock } from '../ports.js'
import type { AccessTokens, Authentication } from './access-tokens.js'
import type { Audit } from './audit.js'
import { type Client, originOf } from './client.js'
import type { Database, Transaction } from './database.js'
import type { MailQuotas } from './mail-quotas.js'
import type { Mails } from './mails.js'
import type { Records, SessionRecord } from './records.js'
import type { Rotations } from './rotations.js'
import { LOCK, LOCK_ACCOUNTS, SHARE_ACCOUNT } from './session-statements.js'
import type { Sessions } from './sessions.js'

interface Deps {
  db: Database
  clock: Clock
  audit: Audit
  records: Records
  sessions: Sessions
  accessTokens: AccessTokens
  mails: Mails
  quotas: MailQuotas
  rotations: Rotations
  /** Of the families of tokens. */
  keys: KeyRing
  graceMs: number
}

export interface Refreshed {
  authentication: Authentication
  /** REPLAYED: the same successor was handed out again. */
  outcome: 'ROTATED' | 'REPLAYED'
}

const FIND = `
  SELECT state, rotated_at AS "rotatedAt", sealed_successor AS "sealedSuccessor", session_id AS "sessionId"
  FROM refresh_tokens WHERE hash = $1::bytea`

/** A page that signs out, or in again, may have a token that another one has used just before. */
const LEAVING_MS = 30_000

interface StoredToken {
  state: RefreshTokenState
  rotatedAt: Date | null
  sealedSuccessor: Uint8Array | null
  sessionId: string
}

/** Rotation of refresh tokens with detection of reuse (RFC 9700 section 4.14.2). */
export function createRefresh(deps: Deps) {
  const { db, clock, audit, records, sessions, accessTokens, mails, quotas, rotations, keys, graceMs } = deps

  async function rotate(client: Client, token: string, successor: string): Promise<Refreshed | null> {
    await accessTokens.assertSigner()
    const rotated = await rotations.rotate({
      hash: sha256(token),
      successorHash: sha256(successor),
      sealedSuccessor: sealSuccessor(token, successor),
      events: audit.toJson(client, [{ type: 'TOKEN_REFRESHED' }]),
    })
    if (!rotated) return null
    const { session, user } = rotated
    // Not waited for: it is on its way before the answer, and all that a cached record lacks is when it was rotated.
    void records.forget({ sessionIds: [session.id] })
    await audit.announce(db)
    return { authentication: await accessTokens.issue(user, session, successor), outcome: 'ROTATED' }
  }

  const find = async (token: string, { sql }: Transaction = db): Promise<StoredToken | undefined> =>
    (await sql<StoredToken>(FIND, [sha256(token)]))[0]

  /** The successor, while a lost response or a concurrent request can explain that its parent comes again. */
  async function replayable(token: string, found: StoredToken, tx: Transaction = db): Promise<string | null> {
    const isInGrace = found.rotatedAt !== null && clock.now().getTime() - found.rotatedAt.getTime() < graceMs
    const successor = isInGrace && found.sealedSuccessor ? openSuccessor(token, found.sealedSuccessor) : null
    return successor !== null && (await find(successor, tx))?.state === 'LIVE' ? successor : null
  }

  /** The token was used before, outside what a lost response explains: somebody has a copy (RFC 9700). Ends its session. */
  async function endReused(tx: Transaction, client: Client, token: string, session: SessionRecord) {
    await tx.sql(SHARE_ACCOUNT, [session.userId])
    // Unless a change of the password, which holds this lock, has replaced the whole family: then it is nobody's any more.
    await tx.sql(LOCK, [session.id])
    if (!(await find(token, tx))) return 'INVALID'
    const ended = await sessions.end(tx, client, session.userId, 'TOKEN_REUSED', { ids: [session.id] })
    if (ended.length === 0) return 'REVOKED'
    await audit.record(tx, client, { type: 'TOKEN_REUSE_DETECTED', userId: session.userId, sessionId: session.id })
    const user = await records.freshUser(session.userId, tx.sql)
    const data = { ...originOf(client, clock.now()), sessionOn: safeName(session.deviceName) }
    if (user && (await quotas.allow(tx, client, user, 'sessions-ended')))
      await mails.send(tx, user, 'sessions-ended', data)
    return 'REUSED'
  }

  async function punish(client: Client, token: string, session: SessionRecord): Promise<never> {
    const reason = await db.transaction((tx) => endReused(tx, client, token, session))
    if (reason !== 'REUSED') return refuse(client, reason, session)
    throw new InvalidRefreshTokenError(reason)
  }

  /** Records the refusal, with the session that the token belonged to, if any. */
  async function refuse(client: Client, reason: RefreshFailure, session: SessionRecord | null = null): Promise<never> {
    const whose = { userId: session?.userId ?? null, sessionId: session?.id ?? null }
    await audit.record(db, client, { type: 'TOKEN_REFRESHED', success: false, ...whose, metadata: { reason } })
    throw new InvalidRefreshTokenError(reason)
  }

  /** Why the token could not be rotated; within the grace period, that is a success after all. */
  async function explain(client: Client, token: string, ours: string): Promise<Refreshed> {
    const found = await find(token)
    const session = found && (await records.freshSession(found.sessionId))
    const user = session && (await records.freshUser(session.userId))
    if (!found || !session || !user) return refuse(client, 'INVALID')
    const end = sessions.endOf(session)
    if (end) return refuse(client, end.endReason === 'EXPIRED' ? 'EXPIRED' : 'REVOKED', session)
    if (!user.isActive) return refuse(client, 'REVOKED', session)
    // It could be rotated after all, and is no copy in any case.
    if (found.state === 'LIVE') return (await rotate(client, token, ours)) ?? refuse(client, 'INVALID', session)
    // It was rotated by this very call, of which the database's answer was lost.
    if (found.sealedSuccessor && openSuccessor(token, found.sealedSuccessor) === ours)
      return { authentication: await accessTokens.issue(user, session, ours), outcome: 'ROTATED' }
    const successor = await replayable(token, found)
    if (successor === null) return punish(client, token, session)
    const metadata = { outcome: 'REPLAYED' }
    await audit.record(db, client, { type: 'TOKEN_REFRESHED', userId: user.id, sessionId: session.id, metadata })
    return { authentication: await accessTokens.issue(user, session, successor), outcome: 'REPLAYED' }
  }

  async function logOut(tx: Transaction, client: Client, session: SessionRecord | null): Promise<void> {
    if (session) await sessions.end(tx, client, session.userId, 'LOGOUT', { ids: [session.id] }, 'LOGGED_OUT')
  }

  const isGood = async (token: string, found: StoredToken, tx: Transaction = db): Promise<boolean> =>
    found.state === 'LIVE' || (await replayable(token, found, tx)) !== null
  const isRecent = ({ rotatedAt }: StoredToken): boolean =>
    rotatedAt !== null && clock.now().getTime() - rotatedAt.getTime() < LEAVING_MS

  return {
    /**
     * Trades a refresh token for a new pair. Presented again within the grace period, while its successor is unused, it
     * gives the same successor; later it ends the session. Throws InvalidRefreshTokenError.
     */
    async refresh(client: Client, token: string | null): Promise<Refreshed> {
      if (!token) return refuse(client, 'MISSING')
      if (!isRefreshTokenShaped(token)) return refuse(client, 'INVALID')
      const successor = successorOf(keys.current, token)
      return (await rotate(client, token, successor)) ?? explain(client, token, successor)
    },

    /**
     * Ends the session of the viewer and that of the refresh token, which are one as a rule. Does nothing without any. A used
     * token that nothing else explains is a copy here too.
     */
    async logout(client: Client, current: SessionRecord | null, token: string | null): Promise<void> {
      const found = token && isRefreshTokenShaped(token) ? await find(token) : undefined
      if (current) await logOut(db, client, current)
      if (!token || !found || found.sessionId === current?.id) return
      const session = await records.freshSession(found.sessionId)
      if (session && !isRecent(found) && !(await isGood(token, found)))
        await db.transaction((tx) => endReused(tx, client, token, session))
      else await logOut(db, client, session)
    },

    /** Whether the token was made for the session, used or not. */
    isOf: async (session: SessionRecord, token: string | null): Promise<boolean> =>
      token !== null && isRefreshTokenShaped(token) && (await find(token))?.sessionId === session.id,

    /** Before anything else is written where `userId` is to leave the session of a token, if any. */
    lockToLeave: async (tx: Transaction, userId: string, token: string | null): Promise<void> =>
      void (await tx.sql(LOCK_ACCOUNTS, [userId, token && sha256(token)])),

    /**
     * Ends the session that a browser leaves by signing in again, if the token could still have renewed it. A used one that
     * nothing else explains is a copy here too, or its thief would stay: the browser does not present it any more.
     */
    async leave(tx: Transaction, client: Client, token: string): Promise<void> {
      if (!isRefreshTokenShaped(token)) return
      const found = await find(token, tx)
      if (!found) return
      const session = await records.freshSession(found.sessionId, tx.sql)
      if (await isGood(token, found, tx)) await logOut(tx, client, session)
      else if (session && !isRecent(found)) await endReused(tx, client, token, session)
    },
  }
}

export type Refresh = ReturnType<typeof createRefresh>

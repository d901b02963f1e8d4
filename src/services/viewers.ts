import { LRUCache } from 'lru-cache'
import { type AccessTokenClaims, CLOCK_SKEW_SECONDS } from '../crypto/jwt.js'
import type { Clock } from '../ports.js'
import type { AccessTokens } from './access-tokens.js'
import type { Loaders, Records, SessionRecord, UserRecord } from './records.js'
import type { Sessions } from './sessions.js'

/** Who is signed in, and with which session. */
export interface Viewer {
  user: UserRecord
  session: SessionRecord
  /** When the access token that said so expires. */
  tokenExpiresAt: Date
  /** Of the key that signed it. */
  tokenKid: string
}

interface Deps {
  clock: Clock
  accessTokens: AccessTokens
  sessions: Sessions
  records: Records
}

export function createViewers({ clock, accessTokens, sessions, records }: Deps) {
  const touched = new LRUCache<string, number>({ max: 50_000 })

  function touch(session: SessionRecord): void {
    const now = clock.now().getTime()
    const last = Math.max(session.lastActivityAt.getTime(), touched.get(session.id) ?? 0)
    if (now - last < sessions.activityEveryMs) return
    touched.set(session.id, now)
    // A request does not wait for this, nor fail with it: the next one notes the activity again.
    sessions.touch(session.id).catch(() => touched.delete(session.id))
  }

  /** The session if it lives. A cached record may lag behind the activity, so what looks idle is looked up again. */
  async function liveSession(loaders: Loaders, id: string): Promise<SessionRecord | null> {
    const session = await loaders.session.load(id)
    if (!session || session.endedAt) return null
    if (!sessions.endOf(session)) return session
    const fresh = await records.freshSession(id)
    return fresh && !sessions.endOf(fresh) ? fresh : null
  }

  /**
   * The session that changes the password goes on with new tokens: a copy of an old one does not (ASVS 7.4.3). No time of
   * issue tells them apart, which may be that of a slow request. One that says nothing of the password is measured by it.
   */
  const isOutdated = ({ pwd, iat }: AccessTokenClaims, user: UserRecord): boolean =>
    (pwd ?? (iat + CLOCK_SKEW_SECONDS) * 1000) < user.passwordChangedAt.getTime()

  /** The live session of an access token that we have issued, though it may have expired. */
  async function recognize(token: string) {
    const claims = await accessTokens.recognize(token)
    const session = claims && (await records.freshSession(claims.sid))
    return session && !sessions.endOf(session) ? { claims, session } : null
  }

  return {
    /** The signed-in user of an access token: null unless it is valid and no older than the password, its session live and the account active. */
    async authenticate(loaders: Loaders, token: string): Promise<Viewer | null> {
      const verified = await accessTokens.verify(token)
      if (!verified) return null
      const { claims, kid } = verified
      const [session, user] = await Promise.all([liveSession(loaders, claims.sid), loaders.user.load(claims.sub)])
      if (!session || !user?.isActive || session.userId !== user.id || isOutdated(claims, user)) return null
      touch(session)
      return { user, session, tokenExpiresAt: new Date(claims.exp * 1000), tokenKid: kid }
    },

    /** Whether the session of an access token that is not good lives: then a refresh helps. */
    hasLiveSession: async (token: string): Promise<boolean> => (await recognize(token)) !== null,

    /** The live session that an access token may still end: also when it has expired, but none older than the password. */
    async sessionToLeave(token: string): Promise<SessionRecord | null> {
      const recognized = await recognize(token)
      const user = recognized && (await records.freshUser(recognized.session.userId))
      return user && !isOutdated(recognized.claims, user) ? recognized.session : null
    },
  }
}

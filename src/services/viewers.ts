import { LRUCache } from 'lru-cache'
import { CLOCK_SKEW_SECONDS } from '../crypto/jwt.js'
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

const ACTIVITY_EVERY_MS = 60_000

export function createViewers({ clock, accessTokens, sessions, records }: Deps) {
  const touched = new LRUCache<string, number>({ max: 50_000 })

  function touch(session: SessionRecord): void {
    const now = clock.now().getTime()
    const last = Math.max(session.lastActivityAt.getTime(), touched.get(session.id) ?? 0)
    if (now - last < ACTIVITY_EVERY_MS) return
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

  return {
    /** The signed-in user of an access token: null unless it is valid and no older than the password, its session live and the account active. */
    async authenticate(loaders: Loaders, token: string): Promise<Viewer | null> {
      const verified = await accessTokens.verify(token)
      if (!verified) return null
      const { claims, kid } = verified
      const [session, user] = await Promise.all([liveSession(loaders, claims.sid), loaders.user.load(claims.sub)])
      if (!session || !user?.isActive || session.userId !== user.id) return null
      // The session that changes the password goes on with new tokens: a copy of an old one does not (ASVS 7.4.3).
      if ((claims.iat + CLOCK_SKEW_SECONDS) * 1000 < user.passwordChangedAt.getTime()) return null
      touch(session)
      return { user, session, tokenExpiresAt: new Date(claims.exp * 1000), tokenKid: kid }
    },

    /** The live session of an access token that may have expired. Enough to leave by, and to know that a refresh helps. */
    async sessionOf(token: string): Promise<SessionRecord | null> {
      const claims = await accessTokens.recognize(token)
      const session = claims && (await records.freshSession(claims.sid))
      return session && !sessions.endOf(session) ? session : null
    },
  }
}

import type { AuditEvent } from '../generated/prisma/client.js'
import type { AuditFilter } from './audit-pages.js'
import type { Feed } from './feed.js'
import type { Lives } from './lives.js'
import type { Records, UserRecord } from './records.js'
import type { Viewer } from './viewers.js'

interface Deps {
  feed: Feed
  records: Records
  lives: Lives
}

export interface Alerts extends AsyncIterableIterator<AuditEvent> {
  /** Aborts when they end; they say so themselves only to who reads on. */
  readonly life: AbortSignal
}

const AUTHORITY: ReadonlySet<unknown> = new Set(['role', 'permissions'])
const authorityOf = (user: Pick<UserRecord, 'roleName' | 'permissions'> | null) =>
  user && JSON.stringify([user.roleName, ...[...user.permissions].sort()])

/** Live streams of security events, each for as long as the viewer may see it. */
export function createAlerts({ feed, records, lives }: Deps) {
  const open = new Map<() => void, UserRecord>()
  let isClosed = false

  // Who has another role now, or other permissions, subscribes anew: as the one that he is.
  feed.onEvent(({ type, userId, metadata }) => {
    const { fields = [] } = metadata as { fields?: string[] }
    if (type !== 'PROFILE_UPDATED' || !fields.some((field) => AUTHORITY.has(field))) return
    if (userId) void endOutdated(userId)
  })

  async function endOutdated(userId: string): Promise<void> {
    // Unknown, for want of a database, is no reason to go on.
    const user = await records.freshUser(userId).catch(() => null)
    for (const [end, { id, ...seen }] of open) if (id === userId && authorityOf(seen) !== authorityOf(user)) end()
  }

  function lifeOf(viewer: Viewer): { signal: AbortSignal; end(): void; release(): void } {
    const ending = new AbortController()
    const end = () => ending.abort()
    open.set(end, viewer.user)
    // What was withdrawn between the look at the viewer and now was told to nobody here.
    void endOutdated(viewer.user.id)
    const unwatch = lives.watch(viewer, end)
    const release = () => {
      open.delete(end)
      unwatch()
    }
    ending.signal.addEventListener('abort', release, { once: true })
    if (isClosed) end()
    return { signal: ending.signal, end, release }
  }

  return {
    /** Ends every stream, also what begins from now on: the server is going away. */
    close: () => {
      isClosed = true
      for (const end of open.keys()) end()
    },

    /** Events that match, after the position. Ends with the session, with the access token, and where events were removed. */
    follow(viewer: Viewer, filter: AuditFilter, after: bigint): Alerts {
      const { signal, end, release } = lifeOf(viewer)
      const events = feed.events(filter, after, signal)
      return {
        life: signal,
        next: async () => {
          const step = await events.next()
          if (step.done) end()
          return step
        },
        return: async () => {
          release()
          return (await events.return?.()) ?? { done: true, value: undefined }
        },
        [Symbol.asyncIterator]() {
          return this
        },
      }
    },
  }
}

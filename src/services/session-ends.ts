import type { EventBus, Log } from '../ports.js'
import type { Feed } from './feed.js'
import type { Records } from './records.js'
import { SESSIONS_ENDED } from './sessions.js'

/** False: it may have ended, for want of a database nobody knows. */
type Listener = (isKnown: boolean) => void

/**
 * Tells holders of open connections that a session has ended: at once through the bus and, should that message be lost,
 * from the audit log, where every end of an active session is written.
 */
export function createSessionEnds(deps: { bus: EventBus; feed: Feed; records: Records; log: Log }) {
  const { bus, feed, records, log } = deps
  const watchers = new Map<string, Set<Listener>>()

  function notify(sessionId: string): void {
    const listeners = watchers.get(sessionId)
    watchers.delete(sessionId)
    for (const listener of listeners ?? []) listener(true)
  }

  bus.subscribe(SESSIONS_ENDED, (message) => {
    try {
      for (const id of JSON.parse(message) as string[]) notify(id)
    } catch (error) {
      log.warn({ err: error }, 'A message about ended sessions could not be read')
    }
  })
  feed.onEvent((event) => {
    // An attempt that failed names no session.
    const isEnd = event.type === 'SESSION_TERMINATED' || event.type === 'LOGGED_OUT'
    if (isEnd && event.sessionId) notify(event.sessionId)
  })

  return {
    /**
     * Calls the listener once, when the session ends, also when it has ended since the caller looked. Returns the
     * function that stops watching.
     */
    watch(sessionId: string, listener: Listener): () => void {
      const listeners = watchers.get(sessionId) ?? new Set()
      watchers.set(sessionId, listeners.add(listener))
      const unwatch = () => {
        listeners.delete(listener)
        if (listeners.size === 0 && watchers.get(sessionId) === listeners) watchers.delete(sessionId)
      }
      const lookAgain = async () => {
        const session = await records.freshSession(sessionId)
        if (!session || session.endedAt) notify(sessionId)
      }
      lookAgain().catch((error) => {
        log.warn({ err: error }, 'A session could not be looked up again: its connection is closed')
        const isWatching = listeners.has(listener)
        unwatch()
        if (isWatching) listener(false)
      })
      return unwatch
    },
  }
}

export type SessionEnds = ReturnType<typeof createSessionEnds>

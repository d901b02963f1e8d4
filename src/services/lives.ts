import type { Clock } from '../ports.js'
import type { Records } from './records.js'
import type { SessionEnds } from './session-ends.js'
import type { Sessions } from './sessions.js'
import type { SigningKeys } from './signing-keys.js'
import type { Viewer } from './viewers.js'

interface Deps {
  clock: Clock
  records: Records
  sessions: Sessions
  sessionEnds: SessionEnds
  signingKeys: SigningKeys
}

/** SESSION: it has ended. TOKEN: it has expired, its key was withdrawn or nobody knows; a refresh helps. */
export type EndOfLife = 'SESSION' | 'TOKEN'

/** setTimeout's longest delay: what could live longer ends then, and its client connects anew. */
const MAX_DELAY_MS = 2_147_483_647

/** While the database cannot say whether a session goes on. */
const RETRY_MS = 1_000

/** How long what a viewer has opened may go on: a connection, or a stream of events. */
export function createLives({ clock, records, sessions, sessionEnds, signingKeys }: Deps) {
  return {
    /** Calls the listener once, when it may no longer. Returns what ends the watch. */
    watch({ session, tokenExpiresAt, tokenKid }: Viewer, listener: (end: EndOfLife) => void): () => void {
      let timer: NodeJS.Timeout | undefined
      let isOver = false

      function release(): void {
        isOver = true
        unwatchSession()
        unwatchKey()
        clearTimeout(timer)
      }
      function end(why: EndOfLife): void {
        if (isOver) return
        release()
        listener(why)
      }
      // An idle session ends without anybody's doing; meanwhile it may have been active elsewhere.
      async function look(): Promise<void> {
        const fresh = await records.freshSession(session.id).catch(() => undefined)
        if (fresh === null || (fresh && sessions.endOf(fresh))) return end('SESSION')
        if (!isOver) wait(fresh ? sessions.dueAt(fresh) : new Date(clock.now().getTime() + RETRY_MS))
      }
      function wait(dueAt: Date): void {
        const isToken = tokenExpiresAt <= dueAt
        const delayMs = (isToken ? tokenExpiresAt : dueAt).getTime() - clock.now().getTime()
        timer = setTimeout(isToken ? () => end('TOKEN') : look, Math.min(Math.max(0, delayMs), MAX_DELAY_MS))
      }

      const unwatchSession = sessionEnds.watch(session.id, (isKnown) => end(isKnown ? 'SESSION' : 'TOKEN'))
      const unwatchKey = signingKeys.watch(tokenKid, () => end('TOKEN'))
      wait(sessions.dueAt(session))
      return release
    },
  }
}

export type Lives = ReturnType<typeof createLives>

import { hideNumber, revealNumber } from '../crypto/hidden-numbers.js'
import type { KeyRing } from '../crypto/key-ring.js'
import { open, seal } from '../crypto/secrets.js'

const START = 'audit-start'

/**
 * Cursors of the audit log: its positions, encrypted. Bare, those of one's own events would tell how much happens on the
 * server, and with it what a stranger's request has found.
 */
export const createAuditCursors = (keys: KeyRing) => ({
  toCursor: ({ position }: { position: bigint }): string => hideNumber(keys.current, position),

  /** The same for the place where a stream begins, which may be anybody's event: no two of these are the same. */
  toStart: ({ position }: { position: bigint }): string =>
    seal(keys.current, String(position), START).toString('base64url'),

  /** The position; null for a text that is no cursor of the audit log. */
  fromCursor(cursor: string): bigint | null {
    const event = revealNumber(keys.all, cursor)
    if (event !== null) return event
    const start = open(keys.all, Buffer.from(cursor, 'base64url'), START)
    return start === null ? null : BigInt(start)
  },
})

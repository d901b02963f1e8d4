import { hideNumber, revealNumber } from '../crypto/hidden-numbers.js'
import type { KeyRing } from '../crypto/key-ring.js'

/**
 * Cursors of the audit log: its positions, encrypted. Bare, those of one's own events would tell how much happens on the
 * server, and with it what a stranger's request has found.
 */
export const createAuditCursors = (keys: KeyRing) => ({
  toCursor: ({ position }: { position: bigint }): string => hideNumber(keys.current, position),

  /** The position; null for a text that is no cursor of the audit log. */
  fromCursor: (cursor: string): bigint | null => revealNumber(keys.all, cursor),
})

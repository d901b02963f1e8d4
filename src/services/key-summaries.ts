import type { SigningKey } from '../generated/prisma/client.js'

/** What operators are told of a key. */
export interface KeySummary {
  kid: string
  algorithm: string
  /** Null with HS256: the environment does not say. */
  createdAt: Date | null
  retiredAt: Date | null
  /**
   * `unused`: of another algorithm than is configured; `expired`: its last token has expired; `revoked`: withdrawn, but
   * what else it has signed is not signed anew yet.
   */
  state: 'signs' | 'verifies' | 'expired' | 'unused' | 'revoked'
}

type Row = Omit<SigningKey, 'publicJwk' | 'sealedPrivate'>

/** Of stored keys, newest first. Those that were retired before `since` verify nothing any more. */
export function summarize(rows: readonly Row[], algorithm: string, since: Date): KeySummary[] {
  const signer = rows.find((row) => row.algorithm === algorithm && !row.retiredAt)
  const stateOf = (row: Row) => {
    if (row.revokedAt) return 'revoked'
    if (row.algorithm !== algorithm) return 'unused'
    if (row === signer) return 'signs'
    return row.retiredAt && row.retiredAt <= since ? 'expired' : 'verifies'
  }
  return rows.map((row) => {
    const { revokedAt: _, ...key } = row
    return { ...key, state: stateOf(row) }
  })
}

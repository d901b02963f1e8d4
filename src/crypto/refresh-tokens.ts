import { createHash, randomBytes } from 'node:crypto'
import { deriveKey, open, randomToken, seal } from './secrets.js'

// A refresh token is `<family handle><secret>`: 144 bits that stay the same over the life of a session, so that calls
// can be counted per session before any look-up, and 256 fresh bits on each rotation. Both are opaque to the client.
const FAMILY_CHARACTERS = 24
const TOKEN = /^[A-Za-z0-9_-]{67}$/

/** A new token: the first of a new family, or the successor of `parent`. */
export function newRefreshToken(parent?: string): string {
  const family = parent?.slice(0, FAMILY_CHARACTERS) ?? randomBytes(18).toString('base64url')
  return family + randomToken()
}

export const isRefreshTokenShaped = (token: string): boolean => TOKEN.test(token)

/** Names the family without revealing anything that could be presented. */
export const familyOf = (token: string): string =>
  createHash('sha256').update(token.slice(0, FAMILY_CHARACTERS)).digest('base64url')

// The key comes from the token itself, of which only the hash is stored: a copy of the database opens nothing. The token is
// no key for an HMAC as it is: of one that is longer than a block, HMAC takes the hash, which is what is stored.
const successorKey = (token: string) => deriveKey(token, 'refresh-successor')

/** Encrypts the successor so that only a holder of `token` can read it. */
export const sealSuccessor = (token: string, successor: string): Buffer<ArrayBuffer> =>
  seal(successorKey(token), successor, 'refresh-successor')

export const openSuccessor = (token: string, sealed: Uint8Array): string | null =>
  open([successorKey(token)], sealed, 'refresh-successor')

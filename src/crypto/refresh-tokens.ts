import { createHash, randomBytes } from 'node:crypto'
import { deriveKey, hmac, isEqual, open, randomToken, seal } from './secrets.js'

// A refresh token is `<family handle><secret>`: a handle that stays the same over the life of a session, so that calls can be
// counted per session before any look-up, and 256 fresh bits on each rotation. Both are opaque to the client. The handle is
// random with a keyed tag, which tells a session of ours from a handle that a client has made up.
const FAMILY_CHARACTERS = 24
const RANDOM_BYTES = 10
const TAG_BYTES = 8
const TOKEN = /^[A-Za-z0-9_-]{67}$/

const tagOf = (key: Buffer, random: Buffer): Buffer => hmac(key, random.toString('base64url')).subarray(0, TAG_BYTES)

/** The first token of a new family. */
export function firstRefreshToken(key: Buffer): string {
  const random = randomBytes(RANDOM_BYTES)
  return Buffer.concat([random, tagOf(key, random)]).toString('base64url') + randomToken()
}

/** The next token of the family. */
export const successorOf = (token: string): string => token.slice(0, FAMILY_CHARACTERS) + randomToken()

export const isRefreshTokenShaped = (token: string): boolean => TOKEN.test(token)

/** Whether the family is one of ours. Says nothing of the token itself. */
export function isOfOurFamily(token: string, keys: readonly Buffer[]): boolean {
  if (!isRefreshTokenShaped(token)) return false
  const handle = Buffer.from(token.slice(0, FAMILY_CHARACTERS), 'base64url')
  const [random, tag] = [handle.subarray(0, RANDOM_BYTES), handle.subarray(RANDOM_BYTES)]
  return keys.some((key) => isEqual(tagOf(key, random), tag))
}

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

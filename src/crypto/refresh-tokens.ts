import { randomBytes } from 'node:crypto'
import { fingerprintOf, hmac, isEqual, open, randomToken, seal, sha256 } from './secrets.js'

// A refresh token is `<family handle><secret>`: a handle that stays the same over the life of a session, so that calls can be
// counted per session before any look-up, and 256 fresh bits on each rotation. Both are opaque to the client. The handle is
// random, with keyed tags: of the account, and of the whole, which tells it from what a client has made up, and is made anew
// where the key is another one by now.
const FAMILY_CHARACTERS = 24
const RANDOM_BYTES = 4
const OWNER_BYTES = 6
const NAMED_BYTES = RANDOM_BYTES + OWNER_BYTES
const TAG_BYTES = 8
// In one spelling only: Buffer also reads `+` as `-`, or U+0141 as `A`, and the last sign has two bits to spare.
const TOKEN = /^[A-Za-z0-9_-]{66}[AEIMQUYcgkosw048]$/

const tagOf = (key: Buffer, message: string, bytes: number): Buffer => hmac(key, message).subarray(0, bytes)

/** What names the family, and its tag. */
function partsOf(token: string): [named: Buffer, tag: Buffer] {
  const handle = Buffer.from(token.slice(0, FAMILY_CHARACTERS), 'base64url')
  return [handle.subarray(0, NAMED_BYTES), handle.subarray(NAMED_BYTES)]
}

const handleOf = (key: Buffer, named: Buffer): string =>
  Buffer.concat([named, tagOf(key, named.toString('base64url'), TAG_BYTES)]).toString('base64url')

/** The first token of a new family. */
export function firstRefreshToken(key: Buffer, userId: string): string {
  const named = Buffer.concat([randomBytes(RANDOM_BYTES), tagOf(key, `user:${userId}`, OWNER_BYTES)])
  return handleOf(key, named) + randomToken()
}

/** The next token of the family, with the tag of this key. */
export const successorOf = (key: Buffer, token: string): string => handleOf(key, partsOf(token)[0]) + randomToken()

export const isRefreshTokenShaped = (token: string): boolean => TOKEN.test(token)

/**
 * What names the account of a family of ours, for limits; null for any other, and for another spelling, in which the family
 * would count anew. Says nothing of the token itself.
 */
export function ownerOf(token: string, keys: readonly Buffer[]): string | null {
  if (!isRefreshTokenShaped(token)) return null
  const [named, tag] = partsOf(token)
  const isOurs = keys.some((key) => isEqual(tagOf(key, named.toString('base64url'), TAG_BYTES), tag))
  return isOurs ? named.subarray(RANDOM_BYTES).toString('base64url') : null
}

/** Names the family without revealing anything that could be presented. */
export const familyOf = (token: string): string => fingerprintOf(token.slice(0, FAMILY_CHARACTERS))

/** Names this token alone, likewise. */
export const nameOf = fingerprintOf

// The key comes from the token itself, of which only the hash is stored: a copy of the database opens nothing. One step of
// NIST SP 800-56C (section 4.1): the counter before the token tells it from that hash, and from all that can be made of it.
const successorKey = (token: string) => sha256(`\0\0\0\x01${token}refresh-successor`)

/** Encrypts the successor so that only a holder of `token` can read it. */
export const sealSuccessor = (token: string, successor: string): Buffer<ArrayBuffer> =>
  seal(successorKey(token), successor, 'refresh-successor')

export const openSuccessor = (token: string, sealed: Uint8Array): string | null =>
  open([successorKey(token)], sealed, 'refresh-successor')

import { calculateJwkThumbprint, exportJWK, generateKeyPair, importJWK, type JWK } from 'jose'
import type { JwtAlgorithm, VerificationKey } from '../crypto/jwt.js'
import type { KeyRing } from '../crypto/key-ring.js'
import { open, seal, sha256 } from '../crypto/secrets.js'
import type { SigningKey } from '../generated/prisma/client.js'
import type { Clock } from '../ports.js'
import type { Database, Transaction } from './database.js'
import type { SigningKeys } from './signing-keys.js'

const DAY_MS = 86_400_000
export const UNREADABLE = 'was stored under a SECRET_KEY that is not configured'
const PURGE = `
  DELETE FROM signing_keys k WHERE retired_at < $1::timestamptz
    AND NOT EXISTS (SELECT FROM audit_checkpoints WHERE kid = k.kid) RETURNING kid`
const contextOf = (kid: string) => `signing-key:${kid}`

const sealKey = (keys: KeyRing, kid: string, jwk: JWK) => seal(keys.current, JSON.stringify(jwk), contextOf(kid))

/** Null for a key that was stored under a SECRET_KEY that is not configured, or is not `under` one of those. */
export function unsealKey(keys: KeyRing, { kid, sealedPrivate }: SigningKey, under = keys.all): JWK | null {
  const jwk = open(under, sealedPrivate, contextOf(kid))
  return jwk === null ? null : JSON.parse(jwk)
}

/**
 * Whoever makes keys has a SECRET_KEY of the servers, whichever algorithms they have: throws where none of the keys that may
 * sign can be read. What is stored under another one would be read by none of them.
 */
export async function assertReadable({ prisma }: Transaction, keys: KeyRing): Promise<void> {
  const rows = await prisma.signingKey.findMany({ where: { retiredAt: null } })
  const [first] = rows
  if (first && rows.every((row) => !unsealKey(keys, row))) throw new Error(`Signing key ${first.kid} ${UNREADABLE}`)
}

/** A secret of HS256 as a key. */
export function hmacKeyOf(secret: string): VerificationKey & { kid: string; key: Uint8Array } {
  const kid = sha256(secret).toString('base64url').slice(0, 16)
  return { kid, algorithm: 'HS256', key: new TextEncoder().encode(secret) }
}

/** A key without what only its owner knows (RFC 7518 section 6). */
export const publicPartOf = ({ kty, crv, x, y, n, e }: JWK) =>
  JSON.parse(JSON.stringify({ kty, crv, x, y, n, e })) as JWK

/** What resource servers are told of a key (RFC 7517). */
export const publicJwkOf = (jwk: JWK, { kid, algorithm }: { kid: string; algorithm: string }): JWK => {
  const publicPart = publicPartOf(jwk)
  return { ...publicPart, kid, alg: algorithm, use: 'sig' }
}

/** A new key, as it is stored. */
export async function makeKey(keys: KeyRing, algorithm: string, createdAt: Date) {
  const { publicKey, privateKey } = await generateKeyPair(algorithm, { extractable: true })
  const kid = await calculateJwkThumbprint(await exportJWK(publicKey))
  const jwk = await exportJWK(privateKey)
  const publicJwk = { ...publicJwkOf(jwk, { kid, algorithm }) }
  return { kid, algorithm, publicJwk, sealedPrivate: sealKey(keys, kid, jwk), createdAt }
}

interface Deps {
  db: Database
  clock: Clock
  keys: KeyRing
  signingKeys: SigningKeys
  /** The configured secrets of HS256, also where another algorithm signs by now. */
  hmacKeys: readonly string[]
  /** How long a token lives: a retired key verifies for this long. */
  tokenLifetimeMs: number
}

/** Keys that sign no more, of any algorithm, for as long as something that they have signed is kept. */
export function createStoredKeys({ db, clock, keys, signingKeys, hmacKeys, tokenLifetimeMs }: Deps) {
  const { signingKey } = db.prisma

  return {
    /**
     * The key of that `kid`, however long retired. Null for one that is not ours, or no longer. Throws when it cannot be
     * read: what it has signed is then neither genuine nor forged.
     */
    async find(kid: string): Promise<VerificationKey | null> {
      const secret = hmacKeys.map(hmacKeyOf).find((key) => key.kid === kid)
      const inUse = secret ?? (await signingKeys.find(kid))
      if (inUse) return inUse
      const row = await signingKey.findUnique({ where: { kid } })
      if (!row) return null
      const jwk = unsealKey(keys, row)
      if (!jwk) throw new Error(`The signing key ${kid} ${UNREADABLE}`)
      const algorithm = row.algorithm as JwtAlgorithm
      return { algorithm, key: await importJWK(publicPartOf(jwk), algorithm) }
    },

    /**
     * Removes keys that have been retired for longer than any token lives, and signed nothing else that is kept. What is
     * kept is sealed anew where it lies under an earlier SECRET_KEY. Returns how many were removed.
     */
    async purge(): Promise<number> {
      const before = new Date(clock.now().getTime() - tokenLifetimeMs - DAY_MS)
      const removed = await db.sql(PURGE, [before])
      for (const row of await signingKey.findMany()) {
        const jwk = unsealKey(keys, row)
        if (!jwk || unsealKey(keys, row, [keys.current])) continue
        await signingKey.updateMany({ where: { kid: row.kid }, data: { sealedPrivate: sealKey(keys, row.kid, jwk) } })
      }
      return removed.length
    },
  }
}

export type StoredKeys = ReturnType<typeof createStoredKeys>

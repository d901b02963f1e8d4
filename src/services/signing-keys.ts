import { type CryptoKey, calculateJwkThumbprint, exportJWK, generateKeyPair, importJWK, type JWK } from 'jose'
import type { JwtAlgorithm, VerificationKey } from '../crypto/jwt.js'
import type { KeyRing } from '../crypto/key-ring.js'
import { open, seal, sha256 } from '../crypto/secrets.js'
import type { SigningKey } from '../generated/prisma/client.js'
import type { Clock } from '../ports.js'
import type { Database, Transaction } from './database.js'

interface Deps {
  db: Database
  clock: Clock
  keys: KeyRing
  algorithm: JwtAlgorithm
  /** The secrets of HS256: the first signs, all verify. */
  hmacKeys: readonly string[]
  /** How long a token lives: a retired key verifies for this long. */
  tokenLifetimeMs: number
}

interface LoadedKey extends VerificationKey {
  kid: string
  signingKey: CryptoKey | Uint8Array
  publicJwk: JWK | null
  isRetired: boolean
}

/** Serialises the first start of several processes. */
const LOCK = 7270736902
const RELOAD_MS = 60_000
/** An unknown `kid` may belong to a key that another process has just made; ask no more often than this. */
const UNKNOWN_KID_RELOAD_MS = 1000
const sealContext = (kid: string) => `signing-key:${kid}`

/** The keys of access tokens: made and stored encrypted at first start, rotated with overlap. */
export function createSigningKeys({ db, clock, keys, algorithm, hmacKeys, tokenLifetimeMs }: Deps) {
  let loaded: readonly LoadedKey[] = []
  let loadedAt = 0

  async function loadRow(row: SigningKey): Promise<LoadedKey> {
    const sealed = open(keys.all, row.sealedPrivate, sealContext(row.kid))
    if (sealed === null) throw new Error(`Signing key ${row.kid} was stored under a SECRET_KEY that is not configured`)
    const publicJwk = row.publicJwk as JWK
    const [key, signingKey] = await Promise.all([
      importJWK(publicJwk, algorithm),
      importJWK(JSON.parse(sealed), algorithm),
    ])
    return { kid: row.kid, algorithm, key, signingKey, publicJwk, isRetired: row.retiredAt !== null }
  }

  function hmacKey(secret: string, index: number): LoadedKey {
    const key = new TextEncoder().encode(secret)
    const kid = sha256(secret).toString('base64url').slice(0, 16)
    return { kid, algorithm, key, signingKey: key, publicJwk: null, isRetired: index > 0 }
  }

  async function reload(): Promise<void> {
    loadedAt = clock.now().getTime()
    if (algorithm === 'HS256') {
      loaded = hmacKeys.map(hmacKey)
      return
    }
    // Another process may have signed with it until it noticed that it was retired.
    const verifiesSince = new Date(loadedAt - tokenLifetimeMs - RELOAD_MS)
    const rows = await db.prisma.signingKey.findMany({
      where: { algorithm, OR: [{ retiredAt: null }, { retiredAt: { gt: verifiesSince } }] },
      orderBy: { createdAt: 'desc' },
    })
    loaded = await Promise.all(rows.map(loadRow))
  }

  async function create(tx: Transaction): Promise<string> {
    const pair = await generateKeyPair(algorithm, { extractable: true })
    const publicJwk = await exportJWK(pair.publicKey)
    const kid = await calculateJwkThumbprint(publicJwk)
    const jwk = { ...publicJwk, kid, alg: algorithm, use: 'sig' }
    const sealedPrivate = seal(keys.current, JSON.stringify(await exportJWK(pair.privateKey)), sealContext(kid))
    await tx.prisma.signingKey.create({
      data: { kid, algorithm, publicJwk: { ...jwk }, sealedPrivate, createdAt: clock.now() },
    })
    return kid
  }

  const isOlderThan = (ageMs: number) => clock.now().getTime() - loadedAt > ageMs

  return {
    /** Makes the first key where there is none. Call before serving. */
    async prepare(): Promise<void> {
      await reload()
      if (loaded.some((key) => !key.isRetired)) return
      await db.transaction(async (tx) => {
        await tx.sql('SELECT pg_advisory_xact_lock($1::bigint)::text', [LOCK])
        const isMade = await tx.prisma.signingKey.count({ where: { algorithm, retiredAt: null } })
        if (!isMade) await create(tx)
      })
      await reload()
    },

    /** The newest key that may sign. */
    async signer(): Promise<LoadedKey> {
      if (isOlderThan(RELOAD_MS)) await reload()
      const current = loaded.find((key) => !key.isRetired)
      if (!current) throw new Error('There is no signing key')
      return current
    },

    /** The key of that `kid`, if it may still verify. */
    async find(kid: string): Promise<LoadedKey | null> {
      const found = loaded.find((key) => key.kid === kid)
      if (found && !isOlderThan(RELOAD_MS)) return found
      if (isOlderThan(UNKNOWN_KID_RELOAD_MS)) await reload()
      return loaded.find((key) => key.kid === kid) ?? null
    },

    /** The public keys (RFC 7517); none with HS256. */
    async jwks(): Promise<{ keys: JWK[] }> {
      if (isOlderThan(RELOAD_MS)) await reload()
      return { keys: loaded.flatMap((key) => (key.publicJwk ? [key.publicJwk] : [])) }
    },

    /** Makes a new key and retires the others. Tokens that they signed stay valid until they expire. */
    async rotate(): Promise<string> {
      if (algorithm === 'HS256') throw new Error('HS256 keys are rotated by putting a new one first in JWT_SIGNING_KEY')
      const kid = await db.transaction(async (tx) => {
        await tx.sql('SELECT pg_advisory_xact_lock($1::bigint)::text', [LOCK])
        await tx.prisma.signingKey.updateMany({
          where: { algorithm, retiredAt: null },
          data: { retiredAt: clock.now() },
        })
        return create(tx)
      })
      await reload()
      return kid
    },
  }
}

export type SigningKeys = ReturnType<typeof createSigningKeys>

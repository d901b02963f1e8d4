import { type CryptoKey, importJWK, type JWK } from 'jose'
import { shared } from '../batches.js'
import type { JwtAlgorithm, VerificationKey } from '../crypto/jwt.js'
import type { KeyRing } from '../crypto/key-ring.js'
import type { SigningKey } from '../generated/prisma/client.js'
import type { Clock, EventBus, Log } from '../ports.js'
import type { Database, Transaction } from './database.js'
import { type KeySummary, summarize } from './key-summaries.js'
import { assertReadable, hmacKeyOf, makeKey, publicJwkOf, publicPartOf, UNREADABLE, unsealKey } from './stored-keys.js'

interface Deps {
  db: Database
  clock: Clock
  log: Log
  bus: EventBus
  keys: KeyRing
  algorithm: JwtAlgorithm
  /** The secrets of HS256: the first signs, all verify. */
  hmacKeys: readonly string[]
  /** How long a token lives: a retired key verifies for this long. */
  tokenLifetimeMs: number
  /** The age at which the schedule replaces the signing key. Null: never. */
  rotationMs: number | null
}

interface LoadedKey extends VerificationKey {
  kid: string
  signingKey: CryptoKey | Uint8Array
  publicJwk: JWK | null
  isRetired: boolean
}

/** Unless something by it is left that could not be signed anew. */
const FORGET = `
  DELETE FROM signing_keys k WHERE kid = $1::text AND NOT EXISTS (SELECT FROM audit_checkpoints c WHERE c.kid = k.kid)`
const SECRETS = { sealedPrivate: true, publicJwk: true } as const

/** Serialises the first start of several processes. */
const LOCK = 7270736902
/** The bus's channel on which a process says that it has changed the keys. */
const KEYS_CHANGED = 'signing-keys-changed'
/** What is known of the keys is believed for so long, should that message be lost: a withdrawn one is refused by then. */
const BELIEVED_MS = 1000
/** An unknown `kid` may belong to a key that another process has just made; ask no more often than this. */
const UNKNOWN_KID_RELOAD_MS = 100
/** While connections are open, somebody has to look. */
const WATCH_MS = 500
/** Beyond its last token: another process may sign with a retired key until it notices, and clocks differ. */
const OVERLAP_MS = 60_000

/** The keys of access tokens: made and stored encrypted at first start, rotated with overlap, withdrawn at once. */
export function createSigningKeys({ db, clock, log, bus, keys, ...settings }: Deps) {
  const { algorithm, hmacKeys, tokenLifetimeMs, rotationMs } = settings
  const isFixed = algorithm === 'HS256'
  let loaded: readonly LoadedKey[] = isFixed ? hmacKeys.map(hmacKey) : []
  let loadedAt = Number.NEGATIVE_INFINITY
  /** A server does not start without the key that signs. */
  let isPrepared = false
  /** Who is told when a key is withdrawn, by its `kid`. */
  const watchers = new Map<string, Set<() => void>>()
  let watch: NodeJS.Timeout | undefined
  /** How many changes were announced: what was read before one is read again. */
  let changes = 0
  bus.subscribe(KEYS_CHANGED, () => {
    changes += 1
    loadedAt = Number.NEGATIVE_INFINITY
  })

  /** Null for one that cannot be read, which is no reason to refuse what others have signed. */
  async function loadRow(row: SigningKey): Promise<LoadedKey | null> {
    const jwk = unsealKey(keys, row)
    if (!jwk) {
      if (!isPrepared && !row.retiredAt) throw new Error(`Signing key ${row.kid} ${UNREADABLE}`)
      log.error({ kid: row.kid }, `A signing key ${UNREADABLE}`)
      return null
    }
    // Not the public key that stands beside it: who can write to the database could put his own there.
    const publicJwk = publicJwkOf(jwk, row)
    const [key, signingKey] = await Promise.all([importJWK(publicPartOf(jwk), algorithm), importJWK(jwk, algorithm)])
    return { kid: row.kid, algorithm, key, signingKey, publicJwk, isRetired: row.retiredAt !== null }
  }

  function hmacKey(secret: string, index: number): LoadedKey {
    const key = hmacKeyOf(secret)
    return { ...key, signingKey: key.key, publicJwk: null, isRetired: index > 0 }
  }

  /** Keys that were retired before verify nothing at that time. */
  const verifiesSince = (nowMs: number) => new Date(nowMs - tokenLifetimeMs - OVERLAP_MS)

  async function load(): Promise<void> {
    const [startedAt, seen] = [clock.now().getTime(), changes]
    const where = {
      algorithm,
      revokedAt: null,
      OR: [{ retiredAt: null }, { retiredAt: { gt: verifiesSince(startedAt) } }],
    }
    const rows = await db.prisma.signingKey.findMany({ where, orderBy: { createdAt: 'desc' } })
    const read = rows.map((row) => {
      const key = known(row.kid)
      return key ? { ...key, isRetired: row.retiredAt !== null } : loadRow(row)
    })
    loaded = (await Promise.all(read)).filter((key) => key !== null)
    if (seen !== changes) return load()
    loadedAt = startedAt
    for (const [kid, listeners] of watchers) {
      if (!known(kid)) for (const listener of listeners) listener()
    }
  }

  const loadOnce = shared(load)

  const known = (kid: string) => loaded.find((key) => key.kid === kid)

  /** One look for all who ask at the same time. When it fails, so do they: what is no longer known is not believed. */
  async function notOlderThan(ageMs: number): Promise<void> {
    const age = clock.now().getTime() - loadedAt
    if (isFixed || (age >= 0 && age < ageMs)) return
    await loadOnce()
  }

  async function change<T>(work: (tx: Transaction) => Promise<T>): Promise<T> {
    const result = await db.transaction(async (tx) => {
      await tx.sql('SELECT pg_advisory_xact_lock($1::bigint)::text', [LOCK])
      await assertReadable(tx, keys)
      return work(tx)
    })
    bus.publish(KEYS_CHANGED, '')
    return result
  }

  async function create(tx: Transaction, alg: string = algorithm): Promise<string> {
    const data = await makeKey(keys, alg, clock.now())
    await tx.prisma.signingKey.create({ data })
    return data.kid
  }

  /** Makes a new key and retires the others. */
  async function replace(tx: Transaction): Promise<string> {
    const where = { algorithm, retiredAt: null }
    await tx.prisma.signingKey.updateMany({ where, data: { retiredAt: clock.now() } })
    return create(tx)
  }

  const current = (tx: Transaction, alg: string = algorithm) =>
    tx.prisma.signingKey.findFirst({ where: { algorithm: alg, retiredAt: null }, orderBy: { createdAt: 'desc' } })

  /** Makes a key that signs where there is none at all. */
  async function ensure(): Promise<void> {
    if (!(await current(db))) await change(async (tx) => (await current(tx))?.kid ?? create(tx))
  }

  /** The newest key that may sign; one is made where there is none at all. `believedMs`: what was known so long ago will do. */
  async function signer(believedMs = BELIEVED_MS): Promise<LoadedKey> {
    await notOlderThan(believedMs)
    const newest = () => loaded.find((key) => !key.isRetired)
    // Or another process has made one since it was looked for.
    if (!newest()) await ensure().then(() => notOlderThan(0))
    return newest() ?? Promise.reject(new Error('There is no signing key'))
  }

  return {
    /** Makes the first key where there is none. Call before serving. */
    async prepare(): Promise<void> {
      // Before anything is read: of servers that start together, one makes it, and all know it then.
      if (!isFixed) await ensure()
      await notOlderThan(0)
      isPrepared = true
      await signer()
    },

    signer,

    /** The key of that `kid`, if it may still verify. */
    async find(kid: string): Promise<LoadedKey | null> {
      await notOlderThan(BELIEVED_MS)
      if (!known(kid)) await notOlderThan(UNKNOWN_KID_RELOAD_MS)
      return known(kid) ?? null
    },

    /** Calls the listener within a second, perhaps more than once, when the key is withdrawn. Returns what ends the watch. */
    watch(kid: string, listener: () => void): () => void {
      const listeners = watchers.get(kid) ?? new Set()
      watchers.set(kid, listeners.add(listener))
      // A look that fails is followed by the next one.
      watch ??= setInterval(() => notOlderThan(WATCH_MS / 2).catch(() => {}), WATCH_MS).unref()
      return () => {
        listeners.delete(listener)
        if (listeners.size === 0 && watchers.get(kid) === listeners) watchers.delete(kid)
        if (watchers.size > 0) return
        clearInterval(watch)
        watch = undefined
      }
    },

    /** The public keys (RFC 7517); none with HS256. */
    async jwks(): Promise<{ keys: JWK[] }> {
      await notOlderThan(BELIEVED_MS)
      return { keys: loaded.flatMap((key) => (key.publicJwk ? [key.publicJwk] : [])) }
    },

    /** All keys, newest first. */
    async list(): Promise<KeySummary[]> {
      const fixed = { algorithm, createdAt: null, retiredAt: null }
      if (isFixed)
        return loaded.map(({ kid, isRetired }) => ({ ...fixed, kid, state: isRetired ? 'verifies' : 'signs' }))
      const rows = await db.prisma.signingKey.findMany({ omit: SECRETS, orderBy: { createdAt: 'desc' } })
      return summarize(rows, algorithm, verifiesSince(clock.now().getTime()))
    },

    /** Makes a new key and retires the others. Tokens that they signed stay valid until they expire. */
    async rotate(): Promise<string> {
      if (isFixed) throw new Error('HS256 keys are rotated by putting a new one first in JWT_SIGNING_KEY')
      return change(replace)
    },

    /** Rotates when the signing key is as old as the schedule allows. Returns the new key's `kid`, or null. */
    async rotateIfDue(): Promise<string | null> {
      if (isFixed || rotationMs === null) return null
      const madeBefore = new Date(clock.now().getTime() - rotationMs)
      return change(async (tx) => {
        const newest = await current(tx)
        return newest && newest.createdAt <= madeBefore ? replace(tx) : null
      })
    },

    /**
     * Withdraws a key and its tokens, at once; then has `renew` sign anew what else it signed, and forgets it. Returns the
     * `kid` that signs now with its algorithm, which servers may be configured for though this process is not.
     */
    async revoke(kid: string, renew: () => Promise<void>): Promise<string> {
      if (isFixed) throw new Error('HS256 keys are withdrawn by removing them from JWT_SIGNING_KEY')
      const successor = await change(async (tx) => {
        const now = clock.now()
        await tx.prisma.signingKey.updateMany({ where: { kid, retiredAt: null }, data: { retiredAt: now } })
        const [revoked] = await tx.prisma.signingKey.updateManyAndReturn({ where: { kid }, data: { revokedAt: now } })
        if (revoked) return (await current(tx, revoked.algorithm))?.kid ?? create(tx, revoked.algorithm)
        const known = await tx.prisma.signingKey.findMany({ select: { kid: true }, orderBy: { createdAt: 'desc' } })
        throw new Error(`There is no signing key ${kid}. There are: ${known.map((key) => key.kid).join(', ')}`)
      })
      await renew()
      await change((tx) => tx.sql(FORGET, [kid]))
      return successor
    },
  }
}

export type SigningKeys = ReturnType<typeof createSigningKeys>

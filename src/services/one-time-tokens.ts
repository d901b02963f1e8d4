import type { KeyRing } from '../crypto/key-ring.js'
import { hmac, isEqual, randomCode, randomToken, sha256 } from '../crypto/secrets.js'
import type { OneTimePurpose } from '../generated/prisma/client.js'
import { normalizeEmail } from '../identifiers.js'
import type { Clock } from '../ports.js'
import type { Database, Transaction } from './database.js'

/** The token of a link, or the address and the six-digit code of the same mail. */
export type Proof = { token: string } | { email: string; code: string }

export interface IssuedToken {
  token: string
  code: string
  lifetimeSeconds: number
}

export interface FoundToken {
  id: string
  userId: string
}

type Miss = (tx: Transaction) => Promise<void>

/** After this many wrong codes the code is dead (ASVS 6.6.3); the link of the same mail cannot be guessed. */
const MAX_CODE_TRIES = 5
/** So often may codes be compared for one address in a day, over all its mails and registrations. */
const MAX_ADDRESS_TRIES = 20

// The try is counted before the code is compared, and the rows are locked before they are counted, so that concurrent
// guesses gain nothing. A guess is compared with the code of every registration of the address, and counts for each.
const COUNT_TRY = `
  WITH mailed AS MATERIALIZED (
    SELECT t.id, t.code_tries,
           t.used_at IS NULL AND t.expires_at > $3::timestamptz AND t.code_tries < ${MAX_CODE_TRIES} AS is_live
    FROM users u JOIN one_time_tokens t ON t.user_id = u.id
    WHERE u.email_normalized = $1::text AND t.purpose = $2::text::one_time_purpose AND t.code_hash IS NOT NULL
      AND (t.expires_at > $3::timestamptz OR t.created_at > $3::timestamptz - interval '1 day')
    ORDER BY t.id FOR UPDATE OF t
  )
  UPDATE one_time_tokens t SET code_tries = t.code_tries + 1
  FROM mailed
  WHERE t.id = mailed.id AND mailed.is_live
    AND (SELECT sum(code_tries) + count(*) FILTER (WHERE is_live) FROM mailed) <= ${MAX_ADDRESS_TRIES}
  RETURNING t.id, t.user_id AS "userId", t.code_hash AS "codeHash"`

const UNCOUNT_TRY = 'UPDATE one_time_tokens SET code_tries = code_tries - 1 WHERE id = $1::uuid'

interface Deps {
  db: Database
  clock: Clock
  keys: KeyRing
  /** Milliseconds. */
  lifetimes: Readonly<Record<OneTimePurpose, number>>
}

/** Single-use tokens and codes, stored only as hashes. */
export function createOneTimeTokens({ db, clock, keys, lifetimes }: Deps) {
  const codeHash = (key: Buffer, userId: string, purpose: OneTimePurpose, code: string) =>
    hmac(key, `${purpose}:${userId}:${code}`)

  async function compare(tx: Transaction, purpose: OneTimePurpose, email: string, code: string) {
    const counted = await tx.sql<FoundToken & { codeHash: Uint8Array }>(COUNT_TRY, [
      normalizeEmail(email),
      purpose,
      clock.now(),
    ])
    for (const { id, userId, codeHash: stored } of counted) {
      if (!keys.all.some((key) => isEqual(stored, codeHash(key, userId, purpose, code)))) continue
      await tx.sql(UNCOUNT_TRY, [id])
      return { id, userId }
    }
    return null
  }

  return {
    /** Makes a token and a code. Earlier ones of the same purpose are dead from here on: the latest mail counts. */
    async issue(tx: Transaction, userId: string, purpose: OneTimePurpose): Promise<IssuedToken> {
      const now = clock.now()
      const token = randomToken()
      const code = randomCode()
      const expiresAt = new Date(now.getTime() + lifetimes[purpose])
      await tx.prisma.oneTimeToken.updateMany({ where: { userId, purpose, usedAt: null }, data: { usedAt: now } })
      await tx.prisma.oneTimeToken.create({
        data: {
          userId,
          purpose,
          tokenHash: sha256(token),
          codeHash: purpose === 'EXCHANGE' ? null : codeHash(keys.current, userId, purpose, code),
          createdAt: now,
          expiresAt,
        },
      })
      return { token, code, lifetimeSeconds: Math.floor(lifetimes[purpose] / 1000) }
    },

    /** Makes a token without a code. Earlier ones stay good: each mail has a link of its own. */
    async issueLink(tx: Transaction, userId: string, purpose: 'NOT_ME'): Promise<Omit<IssuedToken, 'code'>> {
      const now = clock.now()
      const token = randomToken()
      const expiresAt = new Date(now.getTime() + lifetimes[purpose])
      await tx.prisma.oneTimeToken.create({
        data: { userId, purpose, tokenHash: sha256(token), createdAt: now, expiresAt },
      })
      return { token, lifetimeSeconds: Math.floor(lifetimes[purpose] / 1000) }
    },

    /**
     * Looks a proof up without using it. Null for one that is unknown, used, expired or tried too often: then `onMiss` has
     * run in the transaction that counts a wrong code. It has to write something: so a miss takes one commit whether or
     * not a mail waits for that address, and its time does not tell.
     */
    async find(purpose: OneTimePurpose, proof: Proof, onMiss: Miss = async () => {}): Promise<FoundToken | null> {
      if ('code' in proof) {
        return db.transaction(async (tx) => {
          const found = await compare(tx, purpose, proof.email, proof.code)
          if (!found) await onMiss(tx)
          return found
        })
      }
      const found = await db.prisma.oneTimeToken.findFirst({
        where: { tokenHash: sha256(proof.token), purpose, usedAt: null, expiresAt: { gt: clock.now() } },
        select: { id: true, userId: true },
      })
      if (!found) await onMiss(db)
      return found
    },

    /** Uses a token up. Of several concurrent callers exactly one gets true. */
    async claim(tx: Transaction, { id }: FoundToken): Promise<boolean> {
      const { count } = await tx.prisma.oneTimeToken.updateMany({
        where: { id, usedAt: null },
        data: { usedAt: clock.now() },
      })
      return count === 1
    },
  }
}

export type OneTimeTokens = ReturnType<typeof createOneTimeTokens>

import { NIL, v7 as uuid } from 'uuid'
import type { KeyRing } from '../crypto/key-ring.js'
import { hmac, isEqual, randomCode, randomToken, sha256 } from '../crypto/secrets.js'
import type { OneTimePurpose } from '../generated/prisma/client.js'
import { normalizeEmail } from '../identifiers.js'
import type { Clock } from '../ports.js'
import type { Database, Transaction } from './database.js'
import { SHARE_ACCOUNT } from './session-statements.js'
import { createTurns } from './turns.js'

/** The token of a link, or the address and the six-digit code of the same mail. */
export type Proof = { token: string } | { email: string; code: string }

export interface IssuedToken {
  token: string
  lifetimeSeconds: number
}

export interface FoundToken {
  id: string
  userId: string
}

type CodePurpose = 'EMAIL_VERIFICATION' | 'PASSWORD_RESET'

type Miss = (tx: Transaction) => Promise<void>

/** After this many wrong codes the code is dead (ASVS 6.6.3); the link of the same mail cannot be guessed. */
const MAX_GUESSES = 5
/** So often may codes be compared for one address in a day, over all its mails and registrations. */
const MAX_COMPARED = 20

// Until the transaction ends: nobody else guesses at the address meanwhile, or what is counted would be less than there is.
const ALONE = `
  SELECT pg_advisory_xact_lock(hashtextextended(subject, 0))::text FROM unnest(string_to_array($1::text, ',')) AS subject`

// A guess is written down before the codes are compared, and counts for each code that it could be about: those of every
// registration of the address. It takes the same work where there is none, however many guesses there were: then it is
// compared with what no keyed hash is.
const GUESS = `
  WITH fifth AS MATERIALIZED (
    SELECT max(guessed_at) AS guessed_at FROM (
      SELECT guessed_at FROM code_guesses WHERE key = ANY(string_to_array($4::text, ','))
      ORDER BY guessed_at DESC OFFSET ${MAX_GUESSES - 1} LIMIT 1
    ) AS one
  ), today AS MATERIALIZED (
    SELECT coalesce(sum(compared), 0) AS compared FROM code_guesses
    WHERE key = ANY(string_to_array($4::text, ',')) AND guessed_at > $3::timestamptz - interval '1 day'
  ), live AS MATERIALIZED (
    SELECT t.id, t.user_id, t.code_hash
    FROM fifth CROSS JOIN users u JOIN one_time_tokens t ON t.user_id = u.id
    WHERE u.email_normalized = $1::text AND t.purpose = $2::text::one_time_purpose AND t.code_hash IS NOT NULL
      AND t.used_at IS NULL AND t.expires_at > $3::timestamptz
      AND (fifth.guessed_at IS NULL OR fifth.guessed_at < t.created_at)
  ), allowed AS MATERIALIZED (
    SELECT live.* FROM live CROSS JOIN today WHERE (SELECT count(*) FROM live) + today.compared <= ${MAX_COMPARED}
  ), counted AS (
    INSERT INTO code_guesses (id, key, compared, guessed_at)
    SELECT $5::uuid, split_part($4::text, ',', 1), (SELECT count(*) FROM allowed), $3::timestamptz FROM fifth, today
  )
  SELECT id, user_id AS "userId", code_hash AS "codeHash" FROM allowed
  UNION ALL SELECT '${NIL}', '${NIL}', sha256('') WHERE NOT EXISTS (SELECT FROM allowed)`

const FORGET_GUESS = 'DELETE FROM code_guesses WHERE id = $1::uuid'

interface Deps {
  db: Database
  clock: Clock
  keys: KeyRing
  /** Milliseconds. */
  lifetimes: Readonly<Record<OneTimePurpose, number>>
}

/** Single-use tokens and codes, stored only as hashes. */
export function createOneTimeTokens({ db, clock, keys, lifetimes }: Deps) {
  const inTurn = createTurns()
  const codeHash = (key: Buffer, userId: string, purpose: OneTimePurpose, code: string) =>
    hmac(key, `${purpose}:${userId}:${code}`)

  async function guess(tx: Transaction, purpose: OneTimePurpose, email: string, code: string) {
    const address = normalizeEmail(email)
    const subjects = keys.all.map((key) => `${purpose}:${hmac(key, address).toString('base64url')}`)
    const id = uuid()
    // In one order, of all keys: processes share one of them while SECRET_KEY changes.
    await tx.sql(ALONE, [[...subjects].sort().join()])
    const values = [address, purpose, clock.now(), subjects.join(), id]
    for (const { codeHash: stored, ...found } of await tx.sql<FoundToken & { codeHash: Uint8Array }>(GUESS, values)) {
      if (!keys.all.some((key) => isEqual(stored, codeHash(key, found.userId, purpose, code)))) continue
      await tx.sql(FORGET_GUESS, [id])
      return found
    }
    return null
  }

  async function create(
    tx: Transaction,
    userId: string,
    purpose: OneTimePurpose,
    codeHash: Buffer<ArrayBuffer> | null,
    before?: Date,
  ): Promise<IssuedToken> {
    const now = clock.now()
    const token = randomToken()
    const expiresAt = new Date(
      Math.min(now.getTime() + lifetimes[purpose], before?.getTime() ?? Number.POSITIVE_INFINITY),
    )
    await tx.prisma.oneTimeToken.create({
      data: { userId, purpose, tokenHash: sha256(token), codeHash, createdAt: now, expiresAt },
    })
    return { token, lifetimeSeconds: Math.floor((expiresAt.getTime() - now.getTime()) / 1000) }
  }

  return {
    /**
     * Makes a token and a code, good for the lifetime of their purpose, or until `before`. An earlier code is dead from here
     * on: that of the latest mail counts. An earlier link stays good until one is used, or strangers could have mails sent
     * that kill the one which the owner is about to open.
     */
    async issue(
      tx: Transaction,
      userId: string,
      purpose: CodePurpose,
      before?: Date,
    ): Promise<IssuedToken & { code: string }> {
      const code = randomCode()
      // Before the earlier ones, as a reset and a verification do: neither waits for the other.
      await tx.sql(SHARE_ACCOUNT, [userId])
      await tx.prisma.oneTimeToken.updateMany({
        where: { userId, purpose, usedAt: null, codeHash: { not: null } },
        data: { codeHash: null },
      })
      return { code, ...(await create(tx, userId, purpose, codeHash(keys.current, userId, purpose, code), before)) }
    },

    /** Makes a token without a code. Earlier ones stay good. */
    issueLink: (tx: Transaction, userId: string, purpose: 'NOT_ME' | 'EXCHANGE') => create(tx, userId, purpose, null),

    /**
     * Looks a proof up without using it. Null for one that is unknown, used, expired or guessed at too often: then `onMiss`
     * has run, in the transaction that counts the guess.
     */
    async find(purpose: OneTimePurpose, proof: Proof, onMiss: Miss = async () => {}): Promise<FoundToken | null> {
      if ('code' in proof) {
        // Those who wait for their turn keep no connection meanwhile.
        return inTurn(`${purpose}:${normalizeEmail(proof.email)}`, () =>
          db.transaction(async (tx) => {
            const found = await guess(tx, purpose, proof.email, proof.code)
            if (!found) await onMiss(tx)
            return found
          }),
        )
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

    /** Nobody may use any more of these tokens of the account. */
    async end(tx: Transaction, userId: string, ...purposes: OneTimePurpose[]): Promise<void> {
      const where = { userId, purpose: { in: purposes }, usedAt: null }
      await tx.prisma.oneTimeToken.updateMany({ where, data: { usedAt: clock.now() } })
    },
  }
}

export type OneTimeTokens = ReturnType<typeof createOneTimeTokens>

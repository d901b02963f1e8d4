import { isDeepStrictEqual } from 'node:util'
import { readStatement, signStatement } from '../crypto/statements.js'
import type { AuditCheckpoint, AuditCheckpointKind } from '../generated/prisma/client.js'
import type { Clock } from '../ports.js'
import type { Link } from './audit-chain.js'
import type { Database } from './database.js'
import type { SigningKeys } from './signing-keys.js'
import type { StoredKeys } from './stored-keys.js'

interface Deps {
  db: Database
  clock: Clock
  signingKeys: SigningKeys
  storedKeys: StoredKeys
}

type Signer = Awaited<ReturnType<SigningKeys['signer']>>

/** What a signed place of the audit log is, by the `typ` of its header. */
export const AUDIT_STATEMENT = 'portcullis-audit+jws'
const VALUES = '$1::audit_checkpoint_kind, $2::bigint, $3::bytea, $4::timestamptz, $5::text, $6::text'
const INSERT = `INSERT INTO audit_checkpoints (kind, position, hash, created_at, kid, jws)`
const PLACE = `${INSERT} VALUES (${VALUES}) ON CONFLICT DO NOTHING`
// By a key that is not retired, and is not while this is written: what a withdrawn key has signed is looked up once.
const PLACE_BY_STORED_KEY = `
  WITH signer AS MATERIALIZED (SELECT kid FROM signing_keys WHERE kid = $5::text AND retired_at IS NULL FOR SHARE),
  placed AS (${INSERT} SELECT ${VALUES} FROM signer ON CONFLICT DO NOTHING)
  SELECT kid FROM signer`
const renew = (condition: string) => `
  UPDATE audit_checkpoints SET kid = $4::text, jws = $5::text
  WHERE kind = $1::audit_checkpoint_kind AND position = $2::bigint AND kid = $3::text ${condition}`
const RENEW = renew('')
const RENEW_BY_STORED_KEY = renew(
  'AND EXISTS (SELECT FROM signing_keys k WHERE k.kid = $4::text AND k.retired_at IS NULL FOR SHARE)',
)

const statementOf = (kind: AuditCheckpointKind, { position, hash }: Link, at: Date) => ({
  kind,
  position: position.toString(),
  hash: Buffer.from(hash).toString('hex'),
  at: at.toISOString(),
})

/** The signatures of checkpoints, by the key that signs access tokens. */
export function createAuditSignatures({ db, clock, signingKeys, storedKeys }: Deps) {
  /** Null when the key has been retired, of which this process may not have heard yet. */
  async function placeBy(kind: AuditCheckpointKind, link: Link, signer: Signer): Promise<string | null> {
    const at = clock.now()
    const jws = await signStatement(AUDIT_STATEMENT, statementOf(kind, link, at), signer)
    const values = [kind, link.position.toString(), link.hash, at, signer.kid, jws]
    // A secret of HS256 stands in no table.
    if (signer.publicJwk === null) await db.sql(PLACE, values)
    else if ((await db.sql(PLACE_BY_STORED_KEY, values)).length === 0) return null
    return jws
  }

  return {
    /** Adds a signed place, unless it is there. Returns the signed statement. */
    async place(kind: AuditCheckpointKind, link: Link): Promise<string> {
      const believed = await placeBy(kind, link, await signingKeys.signer())
      const jws = believed ?? (await placeBy(kind, link, await signingKeys.signer(0)))
      if (jws === null) throw new Error('The signing key was replaced meanwhile')
      return jws
    },

    /** Puts a signature of that key in the place of another one. */
    async renew(checkpoint: AuditCheckpoint, signer: Signer): Promise<void> {
      const { kind, position, createdAt, kid } = checkpoint
      const jws = await signStatement(AUDIT_STATEMENT, statementOf(kind, checkpoint, createdAt), signer)
      const values = [kind, position.toString(), kid, signer.kid, jws]
      await db.sql(signer.publicJwk === null ? RENEW : RENEW_BY_STORED_KEY, values)
    },

    /** Whether the key that a checkpoint names has signed what it says. */
    async isGood(checkpoint: AuditCheckpoint): Promise<boolean> {
      const { kind, kid, jws, createdAt } = checkpoint
      const key = await storedKeys.find(kid)
      const signed = key && (await readStatement(AUDIT_STATEMENT, jws, key))
      return isDeepStrictEqual(signed, statementOf(kind, checkpoint, createdAt))
    },
  }
}

export type AuditSignatures = ReturnType<typeof createAuditSignatures>

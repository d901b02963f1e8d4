import { createHmac, createPrivateKey, type KeyObject, sign } from 'node:crypto'
import { decodeJwt, type JWK } from 'jose'
import pg from 'pg'
import { createKeyRings } from '../../src/crypto/key-ring.js'
import { open } from '../../src/crypto/secrets.js'
import type { TestApp } from './app.js'
import { TEST_ENVIRONMENT } from './environment.js'

/** Signs the first two parts of a token. */
export type Signer = (input: string) => Buffer

interface StolenKey {
  kid: string
  alg: string
  publicJwk: JWK
  privateJwk: JWK
  sign: Signer
}

const CURRENT = `SELECT kid, algorithm, public_jwk AS "publicJwk", sealed_private AS sealed FROM signing_keys
  WHERE algorithm = $1 AND retired_at IS NULL`
const base64url = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')

export const hmacSigner =
  (secret: string | Buffer): Signer =>
  (input) =>
    createHmac('sha256', secret).update(input).digest()

export const keySigner =
  (key: KeyObject): Signer =>
  (input) =>
    sign(key.asymmetricKeyType === 'ed25519' ? null : 'sha256', Buffer.from(input), { key, dsaEncoding: 'ieee-p1363' })

/** A token of any header and any claims. */
export function compact(header: object, claims: object, signer: Signer): string {
  const input = `${base64url(header)}.${base64url(claims)}`
  return `${input}.${signer(input).toString('base64url')}`
}

/** The key with which the server signs: a token that it signs is false only in what a test makes false. */
export async function stealKey({ installation }: TestApp, algorithm = 'EdDSA'): Promise<StolenKey> {
  const client = new pg.Client(installation.databaseUrl)
  await client.connect()
  const { rows } = await client.query(CURRENT, [algorithm]).finally(() => client.end())
  const [{ kid, publicJwk, sealed }] = rows
  const { all } = createKeyRings([TEST_ENVIRONMENT.SECRET_KEY ?? ''])('signing-keys')
  const privateJwk = JSON.parse(open(all, sealed, `signing-key:${kid}`) ?? '')
  const key = createPrivateKey({ key: privateJwk, format: 'jwk' })
  return { kid, alg: algorithm, publicJwk, privateJwk, sign: keySigner(key) }
}

/** What a token would say that the server makes now for the same session. */
export function freshClaims(token: string, now: Date): Record<string, unknown> {
  const iat = Math.floor(now.getTime() / 1000)
  return { ...decodeJwt(token), iat, nbf: iat, exp: iat + 900 }
}

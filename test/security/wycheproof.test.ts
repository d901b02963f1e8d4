// Project Wycheproof's vectors of JSON Web Signatures (C2SP/wycheproof, testvectors_v1/json_web_signature_test.json), through
// the calls with which we verify access tokens. The file is not part of this repository: WYCHEPROOF_JWS is its path.
import { readFileSync } from 'node:fs'
import { compactVerify, errors, importJWK, type JWK } from 'jose'
import { describe, expect, test } from 'vitest'
import { isCanonical, type JwtAlgorithm } from '../../src/crypto/jwt.js'

interface Vector {
  tcId: number
  comment: string
  jws: string | object
  result: 'valid' | 'invalid'
}
interface Group {
  comment: string
  public?: JWK
  private?: JWK
  tests: Vector[]
}

const KINDS: Record<JwtAlgorithm, JWK> = {
  EdDSA: { kty: 'OKP', crv: 'Ed25519' },
  ES256: { kty: 'EC', crv: 'P-256' },
  RS256: { kty: 'RSA' },
  HS256: { kty: 'oct' },
}
/** Taken for valid there, with a sign in it that base64url does not have. We take no second text for a token. */
const STRICTER = new Set([372, 373])
/** Meant to have wrong padding, which the file has lost: letter for letter they are 357, which is valid. */
const MISLABELLED = new Set([367, 370])

const path = process.env.WYCHEPROOF_JWS
const groups: Group[] = path ? JSON.parse(readFileSync(path, 'utf8')).testGroups : []

/** Whether a server of that algorithm could have the key: it makes its keys itself, to sign, and each for one algorithm. */
function fits({ kty, crv, alg = '', use = 'sig', key_ops = ['verify'] }: JWK, algorithm: JwtAlgorithm): boolean {
  const isKind = kty === KINDS[algorithm].kty && crv === KINDS[algorithm].crv && ['', algorithm].includes(alg)
  return isKind && use === 'sig' && key_ops.includes('verify')
}

/** Whether such a server takes the signature for good. */
async function isAccepted(algorithm: JwtAlgorithm, jwk: JWK, jws: string): Promise<boolean> {
  if (!isCanonical(jws)) return false
  const findKey = async () => {
    if (!fits(jwk, algorithm)) throw new errors.JWKSNoMatchingKey()
    return importJWK(jwk, algorithm)
  }
  try {
    await compactVerify(jws, findKey, { algorithms: [algorithm] })
    return true
  } catch (error) {
    if (error instanceof errors.JOSEError) return false
    throw error
  }
}

const cases = groups.flatMap(({ comment, private: secret, public: open, tests }) => {
  const jwk = (secret?.kty === 'oct' ? secret : open) as JWK
  return tests.map((vector) => ({ ...vector, jwk, name: `${vector.tcId}, ${comment}: ${vector.comment}` }))
})

describe.skipIf(!path)('Wycheproof', () => {
  test.each(cases)('$name', async ({ tcId, jwk, jws, result }) => {
    for (const algorithm of Object.keys(KINDS) as JwtAlgorithm[]) {
      const isGood = (result === 'valid' && !STRICTER.has(tcId)) || MISLABELLED.has(tcId)
      expect([algorithm, await isAccepted(algorithm, jwk, String(jws))]).toEqual([
        ...[algorithm, isGood && fits(jwk, algorithm)],
      ])
    }
  })
})

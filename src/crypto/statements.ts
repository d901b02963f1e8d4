import { CompactSign, type CryptoKey, compactVerify, errors } from 'jose'
import type { JwtAlgorithm, VerificationKey } from './jwt.js'

/** What a statement is, by the `typ` of its header (RFC 8725 section 3.11): nothing signed for one purpose serves another. */
export type StatementType = 'portcullis-audit+jws'

/** Signs a JSON value (RFC 7515, compact serialization). */
export function signStatement(
  type: StatementType,
  value: object,
  signer: { algorithm: JwtAlgorithm; kid: string; signingKey: CryptoKey | Uint8Array },
): Promise<string> {
  return new CompactSign(new TextEncoder().encode(JSON.stringify(value)))
    .setProtectedHeader({ alg: signer.algorithm, typ: type, kid: signer.kid })
    .sign(signer.signingKey)
}

/** The signed value; null when the key has not signed it as a statement of that type. */
export async function readStatement(type: StatementType, jws: string, { key, algorithm }: VerificationKey) {
  try {
    const { payload, protectedHeader } = await compactVerify(jws, key, { algorithms: [algorithm] })
    return protectedHeader.typ === type ? (JSON.parse(new TextDecoder().decode(payload)) as unknown) : null
  } catch (error) {
    if (error instanceof errors.JOSEError || error instanceof SyntaxError) return null
    throw error
  }
}

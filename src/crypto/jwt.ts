import { type CryptoKey, decodeJwt, errors, type JWTPayload, jwtVerify, SignJWT } from 'jose'

export type JwtAlgorithm = 'EdDSA' | 'ES256' | 'RS256' | 'HS256'

/** The claims of an access token (RFC 9068), as this server issues them. Times are seconds, but for `pwd`. */
export interface AccessTokenClaims extends JWTPayload {
  iss: string
  sub: string
  aud: string
  exp: number
  iat: number
  nbf: number
  jti: string
  sid: string
  auth_time: number
  amr: string[]
  email: string
  role: string
  permissions: string[]
  /** Since when the account has had the password that it had then, in milliseconds: whoever has changed it since has another. */
  pwd?: number
}

export interface VerificationKey {
  algorithm: JwtAlgorithm
  key: CryptoKey | Uint8Array
}

export interface ExpectedToken {
  algorithm: JwtAlgorithm
  issuer: string
  audience: string
  now: Date
  findKey(kid: string): Promise<VerificationKey | null>
}

export interface VerifiedToken {
  claims: AccessTokenClaims
  /** Of the key that signed it. */
  kid: string
}

/** What every access token says of its type (RFC 9068 section 2.1, RFC 8725 section 3.11). */
const TYPE = 'at+jwt'
/** By how much the clocks of servers may differ: a token is good from so long before `nbf` and `iat` until so long after `exp`. */
export const CLOCK_SKEW_SECONDS = 5
/** Longer texts are refused unread. */
const MAX_TOKEN_LENGTH = 8192
/** All that our headers say. One that says more is not ours: keys and rules that come with a token are refused unread. */
const HEADER = new Set(['alg', 'typ', 'kid'])
const REQUIRED_CLAIMS = ['sub', 'jti', 'iat', 'nbf', 'exp', 'auth_time']

export function signAccessToken(
  claims: AccessTokenClaims,
  signer: { algorithm: JwtAlgorithm; kid: string; signingKey: CryptoKey | Uint8Array },
): Promise<string> {
  return new SignJWT(claims)
    .setProtectedHeader({ alg: signer.algorithm, typ: TYPE, kid: signer.kid })
    .sign(signer.signingKey)
}

/**
 * Whether the parts of a text are written in the only way to write them: base64url without padding, line ends or bits to spare
 * (RFC 7515 section 2, RFC 4648 sections 3.3 and 3.5). The library, which counts them, would read others as the same token.
 * @internal
 */
export function isCanonical(token: string): boolean {
  return token.split('.').every((part) => Buffer.from(part, 'base64url').toString('base64url') === part)
}

/** When a token says that it was issued; null for what is none. Nothing is verified. */
export function issueTimeOf(token: string): Date | null {
  try {
    const { iat } = decodeJwt(token)
    return typeof iat === 'number' ? new Date(iat * 1000) : null
  } catch {
    return null
  }
}

/**
 * Returns the claims and the key of a token that is valid now; null for any other. The algorithm is ours, never the token's; the
 * key is found by `kid` among our own only (RFC 8725 sections 3.1 and 3.10). Whether the session lives is not said here.
 */
export async function verifyAccessToken(token: string, expected: ExpectedToken): Promise<VerifiedToken | null> {
  if (token.length > MAX_TOKEN_LENGTH || !isCanonical(token)) return null
  try {
    const { payload, protectedHeader } = await jwtVerify<AccessTokenClaims>(
      token,
      async (header) => {
        const isOurs = typeof header.kid === 'string' && Object.keys(header).every((name) => HEADER.has(name))
        const found = isOurs ? await expected.findKey(header.kid as string) : null
        if (found?.algorithm !== header.alg) throw new errors.JWKSNoMatchingKey()
        return found.key
      },
      {
        algorithms: [expected.algorithm],
        typ: TYPE,
        issuer: expected.issuer,
        audience: expected.audience,
        // To jose a token has expired as soon as the tolerance is used up; to us when it is exceeded.
        clockTolerance: CLOCK_SKEW_SECONDS + 1,
        requiredClaims: REQUIRED_CLAIMS,
        currentDate: expected.now,
      },
    )
    const latestStart = expected.now.getTime() / 1000 + CLOCK_SKEW_SECONDS
    if (Math.max(payload.iat, payload.nbf) > latestStart || typeof payload.sid !== 'string') return null
    return { claims: payload, kid: protectedHeader.kid as string }
  } catch (error) {
    if (error instanceof errors.JOSEError) return null
    throw error
  }
}

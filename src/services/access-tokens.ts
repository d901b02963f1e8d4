import { LRUCache } from 'lru-cache'
import { v4 as uuid } from 'uuid'
import { type AccessTokenClaims, type JwtAlgorithm, signAccessToken, verifyAccessToken } from '../crypto/jwt.js'
import { fingerprintOf } from '../crypto/secrets.js'
import type { Clock } from '../ports.js'
import type { SessionRecord, UserRecord } from './records.js'
import type { SigningKeys } from './signing-keys.js'

interface Deps {
  clock: Clock
  signingKeys: SigningKeys
  algorithm: JwtAlgorithm
  lifetimeMs: number
  issuer: () => string
  audience: () => string
}

export interface AccessToken {
  accessToken: string
  expiresAt: Date
  /** Seconds. */
  expiresIn: number
}

/** Signatures that were found good lately. Whether the session still lives is asked on every request all the same. */
const VERIFIED_TOKENS = 20_000
/** A key that is withdrawn is noticed within this time. */
const VERIFIED_FOR_MS = 60_000

/** Access tokens (RFC 9068): signed, short-lived, bound to one session. */
export function createAccessTokens({ clock, signingKeys, algorithm, lifetimeMs, issuer, audience }: Deps) {
  const verified = new LRUCache<string, { claims: AccessTokenClaims; untilMs: number }>({ max: VERIFIED_TOKENS })

  return {
    /** A token that expires with its lifetime or with the session, whichever comes first. */
    async issue(user: UserRecord, session: SessionRecord): Promise<AccessToken> {
      const now = Math.floor(clock.now().getTime() / 1000)
      const exp = Math.min(now + Math.floor(lifetimeMs / 1000), Math.floor(session.expiresAt.getTime() / 1000))
      const claims: AccessTokenClaims = {
        iss: issuer(),
        sub: user.id,
        aud: audience(),
        exp,
        iat: now,
        nbf: now,
        jti: uuid(),
        sid: session.id,
        auth_time: Math.floor(session.createdAt.getTime() / 1000),
        amr: session.amr,
        email: user.email,
        role: user.roleName,
        permissions: user.permissions,
      }
      const accessToken = await signAccessToken(claims, await signingKeys.signer())
      return { accessToken, expiresAt: new Date(exp * 1000), expiresIn: exp - now }
    },

    /** The claims of a token whose signature and claims are good now; null otherwise. Says nothing of its session. */
    async verify(token: string): Promise<AccessTokenClaims | null> {
      const now = clock.now()
      const key = fingerprintOf(token)
      const known = verified.get(key)
      if (known && known.untilMs > now.getTime()) return known.claims
      const expected = { algorithm, issuer: issuer(), audience: audience(), now, findKey: signingKeys.find }
      const claims = await verifyAccessToken(token, expected)
      if (claims) {
        const untilMs = Math.min(claims.exp * 1000, now.getTime() + VERIFIED_FOR_MS)
        verified.set(key, { claims, untilMs })
      }
      return claims
    },
  }
}

export type AccessTokens = ReturnType<typeof createAccessTokens>

import { randomUUID } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import {
  type AccessTokenClaims,
  issueTimeOf,
  type JwtAlgorithm,
  signAccessToken,
  type VerifiedToken,
  verifyAccessToken,
} from '../crypto/jwt.js'
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

/** What a client gets when it signs in or renews its session. */
export interface Authentication {
  accessToken: string
  expiresAt: Date
  /** Seconds. */
  expiresIn: number
  refreshToken: string
  refreshExpiresAt: Date
  user: UserRecord
  session: SessionRecord
}

/** Signatures that were found good lately. Whether key and session are still good is asked on every request all the same. */
const VERIFIED_TOKENS = 20_000
const VERIFIED_FOR_MS = 60_000

/** Access tokens (RFC 9068): signed, short-lived, bound to one session. */
export function createAccessTokens({ clock, signingKeys, algorithm, lifetimeMs, issuer, audience }: Deps) {
  const verified = new LRUCache<string, VerifiedToken & { untilMs: number }>({ max: VERIFIED_TOKENS })
  const expectedAt = (now: Date) => ({
    algorithm,
    issuer: issuer(),
    audience: audience(),
    now,
    findKey: signingKeys.find,
  })

  return {
    /** Rejects when no token could be signed. Call before anything is used up or opened that an answer without one would lose. */
    assertSigner: async (): Promise<void> => void (await signingKeys.signer()),

    /**
     * A token that expires with its lifetime or with the session, whichever comes first; beside the refresh token that was
     * just made for the session.
     */
    async issue(user: UserRecord, session: SessionRecord, refreshToken: string): Promise<Authentication> {
      const now = Math.floor(clock.now().getTime() / 1000)
      const exp = Math.min(now + Math.floor(lifetimeMs / 1000), Math.floor(session.expiresAt.getTime() / 1000))
      const claims: AccessTokenClaims = {
        iss: issuer(),
        sub: user.id,
        aud: audience(),
        exp,
        iat: now,
        nbf: now,
        jti: randomUUID(),
        sid: session.id,
        auth_time: Math.floor(session.createdAt.getTime() / 1000),
        amr: session.amr,
        email: user.email,
        role: user.roleName,
        permissions: user.permissions,
        pwd: user.passwordChangedAt.getTime(),
      }
      const accessToken = await signAccessToken(claims, await signingKeys.signer())
      const expiry = { expiresAt: new Date(exp * 1000), expiresIn: exp - now }
      return { accessToken, ...expiry, refreshToken, refreshExpiresAt: session.expiresAt, user, session }
    },

    /** The claims and the key of a token that is good now; null otherwise. Says nothing of its session. */
    async verify(token: string): Promise<VerifiedToken | null> {
      const now = clock.now()
      const key = fingerprintOf(token)
      const known = verified.get(key)
      if (known && known.untilMs > now.getTime() && (await signingKeys.find(known.kid))) return known
      const found = await verifyAccessToken(token, expectedAt(now))
      if (!found) return null
      verified.set(key, { ...found, untilMs: Math.min(found.claims.exp * 1000, now.getTime() + VERIFIED_FOR_MS) })
      return found
    },

    /** The claims of a token that we have issued, though it may have expired; null for any other. */
    async recognize(token: string): Promise<AccessTokenClaims | null> {
      const issuedAt = issueTimeOf(token)
      return (issuedAt && (await verifyAccessToken(token, expectedAt(issuedAt)))?.claims) || null
    },
  }
}

export type AccessTokens = ReturnType<typeof createAccessTokens>

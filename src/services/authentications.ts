import type { AccessToken, AccessTokens } from './access-tokens.js'
import type { SessionRecord, UserRecord } from './records.js'

/** What a client gets when it signs in or renews its session. */
export interface Authentication extends AccessToken {
  refreshToken: string
  refreshExpiresAt: Date
  user: UserRecord
  session: SessionRecord
}

export function createAuthentications({ accessTokens }: { accessTokens: AccessTokens }) {
  return {
    assertSigner: accessTokens.assertSigner,

    /** An access token for the session, beside the refresh token that was just made for it. */
    async issue(user: UserRecord, session: SessionRecord, refreshToken: string): Promise<Authentication> {
      const accessToken = await accessTokens.issue(user, session)
      return { refreshToken, refreshExpiresAt: session.expiresAt, user, session, ...accessToken }
    },
  }
}

export type Authentications = ReturnType<typeof createAuthentications>

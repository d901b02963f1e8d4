import { DomainError, InvalidTokenError } from '../errors.js'
import type { AccessTokens, Authentication } from './access-tokens.js'
import type { Audit } from './audit.js'
import type { Client } from './client.js'
import type { Database, Transaction } from './database.js'
import type { FoundToken, OneTimeTokens } from './one-time-tokens.js'
import type { Records, UserRecord } from './records.js'
import type { Refresh } from './refresh.js'
import type { Sessions } from './sessions.js'

interface Deps {
  db: Database
  audit: Audit
  records: Records
  sessions: Sessions
  refresh: Refresh
  accessTokens: AccessTokens
  oneTimeTokens: OneTimeTokens
}

export function createExchange(deps: Deps) {
  const { db, audit, records, sessions, refresh, accessTokens, oneTimeTokens } = deps

  return {
    /**
     * Opens a session with a single-use exchange token, so that no JWT ever stands in a URL, in the place of the one that a
     * browser is leaving, if any. Throws InvalidTokenError.
     */
    async exchange(client: Client, token: string, deviceName: string | null, leaving: string | null) {
      await accessTokens.assertSigner()
      const found = await oneTimeTokens.find('EXCHANGE', { token })
      const user = found && (await records.freshUser(found.userId))
      const open = async (tx: Transaction, { id: userId }: UserRecord, token: FoundToken) => {
        // Before the token, as a change of the password does, which ends it: neither waits for the other.
        await refresh.lockToLeave(tx, userId, leaving)
        if (!(await oneTimeTokens.claim(tx, token))) return null
        if (leaving) await refresh.leave(tx, client, leaving)
        return sessions.open(tx, client, {
          userId,
          deviceName,
          rememberMe: false,
          amr: ['otp'],
          events: [{ type: 'TOKEN_EXCHANGED' }],
          guard: { passwordHash: null, throttleKey: null },
        })
      }
      const opened =
        found &&
        user &&
        (await db
          .transaction((tx) => open(tx, user, found))
          // Deactivated.
          .catch((error) => (error instanceof DomainError ? null : Promise.reject(error))))
      if (!opened) {
        await audit.record(db, client, {
          type: 'TOKEN_EXCHANGED',
          success: false,
          metadata: { reason: 'INVALID_TOKEN' },
        })
        throw new InvalidTokenError()
      }
      const authentication: Authentication = await accessTokens.issue(opened.user, opened.session, opened.refreshToken)
      return { authentication, firstLogin: user.lastLoginAt === null }
    },
  }
}

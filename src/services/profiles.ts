import { RequestError, UsernameTakenError } from '../errors.js'
import { normalizeUsername } from '../identifiers.js'
import { type Accounts, isTaken } from './accounts.js'
import type { Audit } from './audit.js'
import type { Client } from './client.js'
import type { Database } from './database.js'
import type { Records, SessionRecord, UserRecord } from './records.js'

/** What is left out stays; null empties a field. */
export interface ProfileChange {
  username?: string | null
  firstName?: string | null
  lastName?: string | null
  displayName?: string | null
  locale?: string
  timezone?: string
}

interface Deps {
  db: Database
  audit: Audit
  accounts: Accounts
  records: Records
}

export function createProfiles({ db, audit, accounts, records }: Deps) {
  return {
    /** Changes the fields that are given. Throws UsernameTakenError; then nothing has changed. */
    async update(
      client: Client,
      { user, session }: { user: UserRecord; session: SessionRecord },
      change: ProfileChange,
    ): Promise<UserRecord> {
      const entry = { type: 'PROFILE_UPDATED', userId: user.id, sessionId: session.id } as const
      const { username } = change
      if (Object.keys(change).length === 0) return user
      try {
        return await db.transaction(async (tx) => {
          const usernameNormalized = username ? normalizeUsername(username) : null
          await tx.prisma.user.update({
            where: { id: user.id },
            data: { ...change, ...(username !== undefined && { usernameNormalized }) },
            select: { id: true },
          })
          // It may have waited for what ended the session.
          const isLive = await tx.prisma.session.count({ where: { id: session.id, endedAt: null } })
          if (isLive === 0) throw new RequestError('UNAUTHENTICATED', 'The session has ended.')
          await audit.record(tx, client, { ...entry, metadata: { fields: Object.keys(change) } })
          await tx.afterCommit(() => records.forget({ userIds: [user.id] }))
          return accounts.findById(tx, user.id)
        })
      } catch (error) {
        if (!isTaken(error, 'username')) throw error
        await audit.record(db, client, { ...entry, success: false, metadata: { reason: 'USERNAME_TAKEN' } })
        throw new UsernameTakenError()
      }
    },
  }
}

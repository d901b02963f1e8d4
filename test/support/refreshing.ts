import pg from 'pg'
import { expect } from 'vitest'
import type { TestApp } from './app.js'
import { type Client, expectType } from './client.js'
import { MeDocument, RefreshDocument } from './generated/graphql.js'
import type { User } from './user.js'

interface StoredToken {
  hash: Buffer
  state: 'LIVE' | 'ROTATED'
}

export const times = <T>(count: number, work: (index: number) => Promise<T>) =>
  Promise.all(Array.from({ length: count }, (_, index) => work(index)))

/** Clients that renew sessions, at a server of the installation, and what is stored of it. */
export function createRefreshing(app: TestApp) {
  const present = (refreshToken: string, at: { anonymous: Client } = app) =>
    at.anonymous.call(RefreshDocument, { input: { refreshToken } })

  async function rotate(refreshToken: string, at: { anonymous: Client } = app): Promise<string> {
    const { authentication } = expectType(await present(refreshToken, at), 'RefreshSuccess')
    return authentication.refreshToken ?? expect.fail('The refresh token is not in the answer')
  }

  /** What a copy of the database tells of the tokens of a session, oldest first. */
  async function tokensOf({ sessionId }: User): Promise<StoredToken[]> {
    const database = new pg.Client(app.installation.databaseUrl)
    await database.connect()
    const query = 'SELECT * FROM refresh_tokens WHERE session_id = $1 ORDER BY created_at, state DESC'
    return (await database.query(query, [sessionId]).finally(() => database.end())).rows
  }

  return {
    present,
    rotate,
    tokensOf,
    liveOf: async (user: User) => (await tokensOf(user)).filter(({ state }) => state === 'LIVE').length,
    isSignedIn: async ({ accessToken }: Pick<User, 'accessToken'>) =>
      (await app.anonymous.with({ authorization: `Bearer ${accessToken}` }).call(MeDocument)) !== null,
  }
}

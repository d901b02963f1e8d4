import fc from 'fast-check'
import pg from 'pg'
import { afterAll, expect, test, vi } from 'vitest'
import { NEXT_PASSWORD, PASSWORD, startApp } from '../support/app.js'
import type { Client } from '../support/client.js'
import { MeDocument, RefreshDocument } from '../support/generated/graphql.js'
import type { User } from '../support/user.js'

vi.setConfig({ testTimeout: 120_000 })

const RUNS = 12
const MAX_STEPS = 10

/** What may happen to one of an account's sessions; `at` picks one of those there are. */
const step = fc.record({
  action: fc.constantFrom('login', 'refresh', 'replay', 'logout', 'terminate', 'changePassword', 'expire'),
  at: fc.nat(20),
})
/** Steps of one group happen at the same time. */
const history = fc.array(fc.array(step, { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: MAX_STEPS })

interface Tracked {
  user: User
  /** Every refresh token that it ever had, the latest last. */
  tokens: string[]
  hasEnded: boolean
}

const app = await startApp({ env: { PASSWORD_HISTORY: '0' } })
const database = new pg.Client(app.installation.databaseUrl)
await database.connect()
afterAll(() => database.end())

/** Sessions of the account as the database has them: how many live tokens, and whether it has ended. */
const LEAVES = `
  SELECT s.id, s.ended_at IS NOT NULL OR s.expires_at <= $2 AS "hasEnded",
         (SELECT count(*)::int FROM refresh_tokens t WHERE t.session_id = s.id AND t.state = 'LIVE') AS live
  FROM sessions s WHERE s.user_id = $1`

const CHANGE_PASSWORD = `mutation ($input: ChangePasswordInput!) {
  result: changePassword(input: $input) {
    __typename
    ... on ChangePasswordSuccess { authentication { accessToken refreshToken } }
  }
}`

interface Changed {
  __typename: string
  authentication: { accessToken: string; refreshToken: string }
}

/** What a call answers; null when it is refused, as by a session that has ended. */
async function run(client: Client, query: string, variables = {}): Promise<Changed | null> {
  const { data } = await client.post(JSON.stringify({ query, variables }))
  return (data as { result: Changed } | null)?.result ?? null
}

test('no interleaving of what happens to sessions leaves two live tokens, or revives one that has ended', async () => {
  await fc.assert(
    fc.asyncProperty(history, async (groups) => {
      const ada = await app.newUser()
      let password = PASSWORD
      const sessions: Tracked[] = [{ user: ada, tokens: [ada.refreshToken], hasEnded: false }]
      const track = (user: User) => void sessions.push({ user, tokens: [user.refreshToken], hasEnded: false })

      async function refresh(session: Tracked, refreshToken: string): Promise<void> {
        const result = await app.anonymous.call(RefreshDocument, { input: { refreshToken } })
        if (result.__typename !== 'RefreshSuccess') return
        const { authentication } = result
        session.tokens.push(authentication.refreshToken ?? '')
        session.user.accessToken = authentication.accessToken
      }

      async function act({ action, at }: { action: string; at: number }): Promise<void> {
        const session = sessions[at % sessions.length] as Tracked
        const { user, tokens, hasEnded } = session
        const client = app.anonymous.with({ authorization: `Bearer ${user.accessToken}` })
        if (action === 'login') track(await ada.logIn({ password }))
        else if (action === 'expire') app.clock.advance('1h')
        else if (action === 'refresh' || action === 'replay') {
          const known = tokens.length
          await refresh(session, tokens.at(action === 'refresh' ? -1 : at % tokens.length) ?? '')
          if (hasEnded) expect(tokens).toHaveLength(known)
        } else if (action === 'logout') {
          await run(client, 'mutation { result: logout { __typename } }')
        } else if (action === 'terminate') {
          const query = 'mutation ($id: ID!) { result: terminateSession(input: { sessionId: $id }) { __typename } }'
          await run(client, query, { id: user.sessionId })
        } else {
          const newPassword = password === PASSWORD ? NEXT_PASSWORD : PASSWORD
          const result = await run(client, CHANGE_PASSWORD, { input: { currentPassword: password, newPassword } })
          if (result?.__typename !== 'ChangePasswordSuccess') return
          password = newPassword
          tokens.push(result.authentication.refreshToken)
          user.accessToken = result.authentication.accessToken
        }
      }

      for (const group of groups) {
        // One change of the password at a time: two that run together both name the old one.
        const isAlone = group.some(({ action }) => action === 'changePassword' || action === 'login')
        if (isAlone) for (const single of group) await act(single)
        else await Promise.all(group.map(act))
        const { rows } = await database.query(LEAVES, [ada.id, app.clock.now()])
        for (const { id, live, hasEnded } of rows as { id: string; live: number; hasEnded: boolean }[]) {
          expect(live).toBeLessThanOrEqual(1)
          const known = sessions.find(({ user }) => user.sessionId === id)
          if (known?.hasEnded) expect(hasEnded).toBe(true)
          if (known) known.hasEnded = hasEnded
        }
        for (const { user } of sessions.filter(({ hasEnded }) => hasEnded)) {
          const client = app.anonymous.with({ authorization: `Bearer ${user.accessToken}` })
          expect(await client.call(MeDocument)).toBeNull()
        }
      }
    }),
    { numRuns: RUNS },
  )
})

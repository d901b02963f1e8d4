import { describe, expect, test } from 'vitest'
import { startApp, type TestApp } from '../support/app.js'
import { expectType } from '../support/client.js'
import { eventually } from '../support/eventually.js'
import {
  AuditLogDocument,
  LoginDocument,
  LogoutDocument,
  MeDocument,
  RefreshDocument,
  TerminateSessionDocument,
} from '../support/generated/graphql.js'
import { hasRedis, startRedis } from '../support/redis-server.js'
import { openSocket } from '../support/streams.js'
import type { User } from '../support/user.js'

const ISSUER = { JWT_ISSUER: 'https://auth.example', JWT_AUDIENCE: 'https://auth.example' }
const ALERTS =
  'subscription ($after: String) { securityAlerts(after: $after, minRiskLevel: LOW) { cursor node { type } } }'

const redis = hasRedis ? await startRedis() : null
const INSTALLATIONS = [
  ['over Redis', redis?.url ?? ''],
  ['with nothing but one database', ''],
] as const

describe.each(INSTALLATIONS.filter(([, url], index) => url || index > 0))('two processes %s', async (_, redisUrl) => {
  const env = { ...ISSUER, REDIS_URL: redisUrl, LOCKOUT_THRESHOLD: '1000' }
  const one = await startApp({ env })
  const two = await startApp({ env, beside: one })
  const at = ({ anonymous }: TestApp, { accessToken }: User) =>
    anonymous.with({ authorization: `Bearer ${accessToken}` })
  const wrong = (email: string) => ({ input: { identifier: email, password: 'not the password' } })
  const newestCursor = async (user: User) =>
    (await user.call(AuditLogDocument, { first: 1 })).edges[0]?.cursor ?? expect.fail('There are no events')

  test('tell subscribers of each other what happens, in the same order and once', async () => {
    const ada = await one.newUser()
    const after = await newestCursor(ada)
    const followers = [one, two].map(async ({ url }) =>
      (await openSocket(url, { token: ada.accessToken })).follow(ALERTS, { after }),
    )
    const [first, second] = (await Promise.all(followers)) as [
      Awaited<(typeof followers)[0]>,
      Awaited<(typeof followers)[0]>,
    ]
    for (let round = 0; round < 5; round += 1) {
      await Promise.all([one, two].map(({ anonymous }) => anonymous.call(LoginDocument, wrong(ada.email))))
    }
    await eventually(() => [first.received.length, second.received.length]).toEqual([10, 10])
    expect(second.received).toEqual(first.received)
    const cursors = first.received.map(({ data }) => data.securityAlerts.cursor)
    expect(new Set(cursors).size).toBe(10)
  })

  test('refuse a session at once that the other one has ended, and close its connections', async () => {
    const ada = await one.newUser()
    const user = await ada.logIn()
    const socket = await openSocket(two.url, { token: user.accessToken })
    expect(await socket.ask('{ me { id } }')).toEqual({ data: { me: { id: ada.id } } })
    await ada.call(TerminateSessionDocument, { input: { sessionId: user.sessionId } })
    expect(await at(two, user).call(MeDocument)).toBeNull()
    expect(await socket.closing).toMatchObject({ code: 4403 })
    await at(two, ada).call(LogoutDocument)
    expect(await ada.call(MeDocument)).toBeNull()
  })

  test('give one successor to 50 refreshes with one token at the same time', async () => {
    const { refreshToken } = await one.newUser()
    const refreshes = Array.from({ length: 50 }, async (_, index) => {
      const { anonymous } = index % 2 === 0 ? one : two
      return expectType(await anonymous.call(RefreshDocument, { input: { refreshToken } }), 'RefreshSuccess')
    })
    const results = await Promise.all(refreshes)
    expect(new Set(results.map(({ authentication }) => authentication.refreshToken)).size).toBe(1)
    expect(results.filter(({ outcome }) => outcome === 'ROTATED')).toHaveLength(1)
    const next = results[0]?.authentication.refreshToken ?? ''
    expectType(await two.anonymous.call(RefreshDocument, { input: { refreshToken: next } }), 'RefreshSuccess')
  })

  test('keep the keys of each other: what one signs, the other accepts', async () => {
    const ada = await two.newUser({ email: 'signed@example.com' })
    expect((await at(one, ada).call(MeDocument))?.id).toBe(ada.id)
  })
})

test.skipIf(!redis)(
  'The limits of two processes over Redis are one: of 20 concurrent logins exactly 5 pass',
  async () => {
    const env = { ...ISSUER, REDIS_URL: redis?.url ?? '', RATE_LIMITS: '' }
    const one = await startApp({ env })
    const two = await startApp({ env, beside: one })
    const query = 'mutation { login(input: { identifier: "racing@example.com", password: "x" }) { __typename } }'
    const calls = Array.from({ length: 20 }, (_, index) =>
      (index % 2 === 0 ? one : two).anonymous.post(JSON.stringify({ query })),
    )
    const answers = await Promise.all(calls)
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(5)
    expect(answers.filter(({ status }) => status === 429)).toHaveLength(15)
  },
)

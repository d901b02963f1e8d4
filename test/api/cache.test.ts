import { describe, expect, test } from 'vitest'
import { NEXT_PASSWORD, startApp, type TestApp } from '../support/app.js'
import { type Client, expectType } from '../support/client.js'
import { eventually } from '../support/eventually.js'
import {
  ChangePasswordDocument,
  LoginDocument,
  MeDocument,
  TerminateSessionDocument,
  UpdateProfileDocument,
  VerifyEmailDocument,
} from '../support/generated/graphql.js'
import { proofOf, SUBJECTS } from '../support/mailbox.js'
import { metric } from '../support/metrics.js'
import { hasRedis, startRedis } from '../support/redis-server.js'
import type { User } from '../support/user.js'

const ISSUER = { JWT_ISSUER: 'https://auth.example', JWT_AUDIENCE: 'https://auth.example' }

/** What a piece of work costs the server in statements. Jobs and the event feed send some too: so the least of many tries. */
async function statementsOf({ url }: TestApp, work: () => Promise<unknown>, attempts = 25): Promise<number> {
  const costs: number[] = []
  for (let attempt = 0; attempt < attempts; attempt += 1) {
    const before = await metric(url, 'database_queries_total')
    await work()
    costs.push((await metric(url, 'database_queries_total')) - before)
  }
  return Math.min(...costs)
}

/** An account is not kept again within five seconds of a change, such as a login: to ask more often would only be work. */
const RARELY = { timeout: 60_000, interval: 200 }

/** Waits until a request of theirs costs no statement. */
const expectKnown = (app: TestApp, { call }: Pick<Client, 'call'>) =>
  expect.poll(() => statementsOf(app, () => call(MeDocument), 1), RARELY).toBe(0)

describe.skipIf(!hasRedis)('with Redis', async () => {
  if (!hasRedis) return
  const redis = await startRedis()
  const env = { ...ISSUER, REDIS_URL: redis.url }
  const one = await startApp({ env })
  const two = await startApp({ env, beside: one })
  /** The same person, as she talks to the other process. */
  const elsewhere = ({ accessToken }: User) => two.anonymous.with({ authorization: `Bearer ${accessToken}` })
  const reads = async () => ({
    hits: await metric(one.url, 'cache_reads_total{result="hit"}'),
    misses: await metric(one.url, 'cache_reads_total{result="miss"}'),
  })

  test('a change that a process could not tell to Redis is believed all the same', async () => {
    const cutOff = await startApp({ env: { ...ISSUER, REDIS_URL: '' }, beside: one })
    const ada = await one.newUser()
    const { accessToken } = await ada.logIn()
    await expectKnown(one, ada)
    const there = cutOff.anonymous.with({ authorization: `Bearer ${accessToken}` })
    await there.call(UpdateProfileDocument, { input: { firstName: 'Augusta' } })
    await eventually(async () => (await ada.call(MeDocument))?.firstName).toBe('Augusta')
    await there.call(TerminateSessionDocument, { input: { sessionId: ada.sessionId } })
    // Not only when it would be looked up again in any case, after a minute.
    await expect.poll(() => ada.call(MeDocument), { ...RARELY, timeout: 30_000 }).toBeNull()
  })

  test('whoever was looked up once costs no statement the next time', async () => {
    const ada = await one.newUser()
    await expectKnown(one, ada)
  })

  test('each request reads one account and one session, and the counters say with what success', async () => {
    const ada = await (await one.newUser()).logIn()
    const before = await reads()
    await ada.call(MeDocument)
    const first = await reads()
    expect(first.misses - before.misses + first.hits - before.hits).toBe(2)
    const costs = async () => {
      const { hits, misses } = await reads()
      await ada.call(MeDocument)
      const after = await reads()
      return [after.hits - hits, after.misses - misses]
    }
    await expect.poll(costs, RARELY).toEqual([2, 0])
  })

  test('a change that one process makes is seen by the other at once', async () => {
    const ada = await one.newUser()
    for (let change = 1; change <= 20; change += 1) {
      const firstName = `Ada ${change}`
      await ada.call(UpdateProfileDocument, { input: { firstName } })
      expect((await elsewhere(ada).call(MeDocument))?.firstName).toBe(firstName)
    }
  })

  test('a copy of an access token is refused as soon as the password is changed', async () => {
    const ada = await one.newUser()
    await expectKnown(one, ada)
    const input = { currentPassword: ada.password, newPassword: NEXT_PASSWORD }
    expectType(await ada.call(ChangePasswordDocument, { input }), 'ChangePasswordSuccess')
    expect(await elsewhere(ada).call(MeDocument)).toBeNull()
  })

  test('that an address is verified is seen at once', async () => {
    const open = await startApp({ env: { ...env, REQUIRE_VERIFIED_EMAIL: 'false' }, beside: one })
    const { email, password } = await open.register({ email: 'proven@example.com' })
    const input = { identifier: email, password, tokenDelivery: 'BODY' } as const
    const login = expectType(await open.anonymous.call(LoginDocument, { input }), 'LoginSuccess')
    const ada = open.anonymous.with({ authorization: `Bearer ${login.authentication.accessToken}` })
    const { token } = proofOf(await open.mail(email, SUBJECTS.verification))
    await expectKnown(open, ada)
    expect(await ada.call(MeDocument)).toMatchObject({ emailVerified: false })
    expectType(await open.anonymous.call(VerifyEmailDocument, { input: { token } }), 'VerifyEmailSuccess')
    expect(await ada.call(MeDocument)).toMatchObject({ emailVerified: true })
  })

  test('no hash and no token is kept in it', async () => {
    const ada = await (await one.newUser()).refreshed()
    await ada.call(MeDocument)
    const texts = await redis.texts()
    expect(Object.keys(texts).some((key) => key.includes(ada.id))).toBe(true)
    const everything = JSON.stringify(texts)
    expect(everything).not.toContain('$argon2')
    for (const secret of [ada.password, ada.accessToken, ada.refreshToken]) expect(everything).not.toContain(secret)
  })
})

describe('without Redis', async () => {
  const app = await startApp({ env: { REDIS_URL: '' } })

  test('the accounts of a page of events cost one statement together', async () => {
    for (let account = 0; account < 20; account += 1) await app.register()
    const auditor = await app.auditor()
    const page = (first: number, user: string) => {
      const filter = 'filter: { types: [REGISTERED] }'
      const query = `{ auditLog(scope: EVERYONE, ${filter}, first: ${first}) { edges { node { id ${user} } } } }`
      return () => auditor.post(JSON.stringify({ query }))
    }
    const { data } = await page(20, 'user { email }')()
    const users = JSON.stringify(data).match(/"user":\{"email":"[^"]+"\}/g) ?? []
    expect(new Set(users).size).toBe(20)
    const plain = await statementsOf(app, page(20, ''))
    // The newest one is the auditor, who is known already.
    expect(await statementsOf(app, page(1, 'user { email }'))).toBe(plain)
    expect(await statementsOf(app, page(2, 'user { email }'))).toBe(plain + 1)
    expect(await statementsOf(app, page(20, 'user { email }'))).toBe(plain + 1)
  })

  test('every request asks the database: what has ended elsewhere is never believed', async () => {
    const ada = await app.newUser()
    expect(await statementsOf(app, () => ada.call(MeDocument))).toBe(2)
  })
})

import { describe, expect, test, vi } from 'vitest'
import { startApp, type TestApp } from '../support/app.js'
import { eventually } from '../support/eventually.js'
import { LogoutDocument, MeDocument, UpdateProfileDocument } from '../support/generated/graphql.js'
import { hasRedis, startRedis } from '../support/redis-server.js'
import { openSocket } from '../support/streams.js'
import type { User } from '../support/user.js'

const ISSUER = { JWT_ISSUER: 'https://auth.example', JWT_AUDIENCE: 'https://auth.example' }
const LIMITS = { RATE_LIMITS: 'login=5/1h,1000/1h;*=1000000/1m' }

describe.skipIf(!hasRedis)('while Redis', async () => {
  if (!hasRedis) return
  const redis = await startRedis()
  const env = { ...ISSUER, ...LIMITS, REDIS_URL: redis.url }
  const one = await startApp({ env })
  const two = await startApp({ env, beside: one })

  const at = ({ anonymous }: TestApp, { accessToken }: User) =>
    anonymous.with({ authorization: `Bearer ${accessToken}` })
  const cacheHealth = async ({ url }: TestApp) => {
    const { status, cache } = (await (await fetch(`${url}/health`)).json()) as { status: string; cache: string }
    return `${status}, ${cache}`
  }
  const everywhere = async () => [await cacheHealth(one), await cacheHealth(two)]
  const untilAllIs = (health: string) => eventually(everywhere).toEqual([health, health])

  /** Asks both processes, over and over, who somebody is who is signed in and somebody who is not any more. */
  async function underLoad() {
    const ada = await one.newUser()
    const ended = await ada.logIn()
    await ended.call(LogoutDocument)
    const problems: string[] = []
    let isDone = false
    let count = 0
    const ask = async (server: TestApp) => {
      const [me, nobody] = [at(server, ada), at(server, ended)]
      const body = JSON.stringify({ query: '{ me { id } }' })
      while (!isDone) {
        const answers = await Promise.all([me.post(body), nobody.post(body)])
        const got = JSON.stringify(answers.map(({ status, data, errors }) => ({ status, data, errors })))
        const expected = [{ id: ada.id }, null].map((each) => ({ status: 200, data: { me: each }, errors: [] }))
        if (got !== JSON.stringify(expected)) problems.push(got)
        count += 1
      }
    }
    const running = Promise.all([one, two].map(ask))
    const answered = async (more: number) => {
      const target = count + more
      await vi.waitUntil(() => count >= target, 20_000)
    }
    const stop = async () => {
      isDone = true
      await running
      return problems
    }
    return { answered, stop }
  }

  const login = (server: TestApp, identifier: string, from: string) =>
    server.anonymous.with({ 'x-forwarded-for': from }).post(
      JSON.stringify({
        query: `mutation { login(input: { identifier: "${identifier}", password: "x" }) { __typename } }`,
      }),
    )
  async function allowedOf20(server: TestApp, identifier: string): Promise<number> {
    const answers = await Promise.all(Array.from({ length: 20 }, () => login(server, identifier, '203.0.113.1')))
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200, 429]))
    return answers.filter(({ status }) => status === 200).length
  }

  /** What two processes promise each other, whatever Redis does. */
  async function expectOrder(name: string): Promise<void> {
    const ada = await one.newUser()
    const user = await ada.logIn()
    const socket = await openSocket(two.url, { token: user.accessToken })
    expect((await at(two, user).call(MeDocument))?.id).toBe(ada.id)
    await ada.call(UpdateProfileDocument, { input: { firstName: name } })
    await eventually(async () => (await at(two, ada).call(MeDocument))?.firstName).toBe(name)
    await user.call(LogoutDocument)
    expect(await at(two, user).call(MeDocument)).toBeNull()
    expect(await socket.closing).toMatchObject({ code: 4403 })
  }

  test.each<[string, () => Promise<void> | void, () => Promise<void> | void]>([
    ['is gone and comes back empty', redis.kill, redis.start],
    ['does not answer', redis.pause, redis.resume],
  ])('%s, no request fails, none is too many, and all is used again afterwards', async (_, leave, comeBack) => {
    await untilAllIs('healthy, up')
    const load = await underLoad()
    await load.answered(20)
    await leave()
    await load.answered(20)
    await untilAllIs('degraded, down')
    await expectOrder('Without')
    expect(await allowedOf20(one, `away-${_.length}@example.com`)).toBe(5)
    expect(await allowedOf20(two, `away-${_.length}@example.com`)).toBe(5)
    await comeBack()
    await untilAllIs('healthy, up')
    await load.answered(20)
    expect(await load.stop()).toEqual([])
    await expectOrder('Again')
    // Counted together again: soon, for whoever has just waited in vain leaves Redis alone for half a second.
    let tries = 0
    const allowedTogether = async () => {
      tries += 1
      const shared = `back-${_.length}-${tries}@example.com`
      const [first, second] = await Promise.all([one, two].map((server) => allowedOf20(server, shared).catch(() => 0)))
      return (first ?? 0) + (second ?? 0)
    }
    await eventually(allowedTogether).toBe(5)
  })

  test.each([['briefly'], ['for seconds']])(
    'does not answer %s, no change is lost: nothing older is believed when it is back',
    async (duration) => {
      await untilAllIs('healthy, up')
      const ada = await one.newUser({ firstName: 'Before' })
      const user = await ada.logIn()
      // Known to Redis, so that it has something old to tell.
      await vi.waitUntil(
        async () => {
          await at(two, user).call(MeDocument)
          const texts = await redis.texts()
          return [ada.id, user.sessionId].every((id) =>
            Object.entries(texts).some(([key, text]) => key.endsWith(id) && text.length > 1),
          )
        },
        { timeout: 15_000 },
      )
      redis.pause()
      await ada.call(UpdateProfileDocument, { input: { firstName: 'After' } })
      await user.call(LogoutDocument)
      if (duration === 'for seconds') await untilAllIs('degraded, down')
      redis.resume()
      const names: (string | null | undefined)[] = []
      await vi.waitUntil(
        async () => {
          // What has ended is refused by the very next request.
          expect(await at(two, user).call(MeDocument)).toBeNull()
          names.push((await at(two, ada).call(MeDocument))?.firstName)
          return names.at(-1) === 'After' && (await everywhere()).join() === 'healthy, up,healthy, up'
        },
        { timeout: 15_000, interval: 5 },
      )
      // An account may be known as it was for a second, but what is new stays.
      expect(names.slice(names.indexOf('After'))).not.toContain('Before')
    },
  )
})

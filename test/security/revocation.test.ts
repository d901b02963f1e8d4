import { describe, expect, test, vi } from 'vitest'
import { NEXT_PASSWORD } from '../support/app.js'
import { expectType } from '../support/client.js'
import { eventually } from '../support/eventually.js'
import {
  ChangePasswordDocument,
  LogoutDocument,
  MeDocument,
  RefreshDocument,
  RequestPasswordResetDocument,
  ResetPasswordDocument,
  TerminateAllSessionsDocument,
  TerminateSessionDocument,
} from '../support/generated/graphql.js'
import { type Mail, proofOf, SUBJECTS } from '../support/mailbox.js'
import { at, type ProcessPair, type RunningServer, startPair } from '../support/process-pair.js'
import { hasRedis, startRedis } from '../support/redis-server.js'
import { openSocket, openStream } from '../support/streams.js'
import type { User } from '../support/user.js'

const ALERTS = 'subscription { securityAlerts { cursor } }'
const LIMIT_MS = 1_000
const LANES = 2

/** An account under revocation: `owner` is her own session, which some of the ways end as well. */
interface Person {
  owner: User
  password: string
}

let passwords = 0
const newPassword = () => {
  passwords += 1
  return `${NEXT_PASSWORD} ${passwords}`
}
const refresh = ({ anonymous }: RunningServer, refreshToken: string) =>
  anonymous.call(RefreshDocument, { input: { refreshToken } })

function resetMail({ url }: RunningServer, { email }: User): Promise<Mail> {
  const find = async () => {
    const response = await fetch(`${url}/dev/mailbox`, { headers: { accept: 'application/json' } })
    const mails = (await response.json()) as Mail[]
    return mails.find(({ to, subject }) => to === email && subject === SUBJECTS.reset) ?? expect.fail('No mail yet')
  }
  return vi.waitFor(find, { timeout: 30_000, interval: 20 })
}

type Way = (server: RunningServer, person: Person, victim: User, pair: ProcessPair) => Promise<unknown>

/** Every way to end a session that is not the owner's wish any more. Each one revokes `victim`, at the server. */
const WAYS: [string, Way][] = [
  [
    'terminateSession',
    async (server, { owner }, { sessionId }) => {
      const input = { sessionId }
      expectType(await at(server, owner).call(TerminateSessionDocument, { input }), 'TerminateSessionSuccess')
    },
  ],
  ['terminateAllSessions', (server, { owner }) => at(server, owner).call(TerminateAllSessionsDocument)],
  ['logout', (server, _, victim) => at(server, victim).call(LogoutDocument)],
  [
    'reuse of a refresh token',
    async (server, _, { refreshToken }) => {
      const { authentication } = expectType(await refresh(server, refreshToken), 'RefreshSuccess')
      expectType(await refresh(server, authentication.refreshToken ?? ''), 'RefreshSuccess')
      const reused = expectType(await refresh(server, refreshToken), 'InvalidRefreshTokenError')
      expect(reused.reason).toBe('REUSED')
    },
  ],
  [
    'resetPassword',
    async (server, person) => {
      const { token } = proofOf(await resetMail(server, person.owner))
      const input = { token, newPassword: newPassword() }
      expectType(await server.anonymous.call(ResetPasswordDocument, { input }), 'ResetPasswordSuccess')
      person.password = input.newPassword
    },
  ],
  [
    'changePassword',
    async (server, person) => {
      // Her session has ended with the reset.
      const owner = await person.owner.logIn({ password: person.password })
      const input = { currentPassword: person.password, newPassword: newPassword() }
      expectType(await at(server, owner).call(ChangePasswordDocument, { input }), 'ChangePasswordSuccess')
      person.password = input.newPassword
    },
  ],
  ['deactivation', (_, { owner }, _victim, { deactivate }) => deactivate(owner.email)],
]

/** Opens every kind of connection of a session on both servers, and revokes it. Gives how long the slowest one lived. */
async function revoke(pair: ProcessPair, server: RunningServer, person: Person, way: Way): Promise<number> {
  const { servers } = pair
  const victim = await person.owner.logIn({ password: person.password })
  const { accessToken: token, refreshToken } = victim
  const sockets = await Promise.all(servers.map(({ url }) => openSocket(url, { token })))
  const streams = await Promise.all(servers.map(({ url }) => openStream(url, { token }, ALERTS)))
  expect(await Promise.all(servers.map((each) => at(each, victim).call(MeDocument)))).not.toContain(null)
  await way(server, person, victim, pair)
  const start = performance.now()
  // Refused from the very next request on.
  const requests = servers.map(async (each) => expect(await at(each, victim).call(MeDocument)).toBeNull())
  const codes = sockets.map(async ({ closing }) => expect(await closing).toMatchObject({ code: 4403 }))
  await Promise.all([...requests, ...codes, ...streams.map(({ ended }) => ended)])
  const elapsed = performance.now() - start
  expect(expectType(await refresh(server, refreshToken), 'InvalidRefreshTokenError').reason).toBe('REVOKED')
  return elapsed
}

/** Revokes in every way, in turn, so many times. Prints the slowest, and expects it to be quick. */
async function expectQuick(pair: ProcessPair, circumstances: string, rounds: number): Promise<void> {
  const slowest = new Map<string, number>()
  let round = 0
  const work = async () => {
    while (round < rounds) {
      round += 1
      const mine = round
      const owner = await pair.newUser()
      const person = { owner, password: owner.password }
      // The mail comes while the other ways are taken.
      await pair.servers[0].anonymous.call(RequestPasswordResetDocument, { input: { email: owner.email } })
      for (const [index, [name, way]] of WAYS.entries()) {
        const server = pair.servers[(mine + index) % 2] ?? pair.servers[0]
        const elapsed = await revoke(pair, server, person, way)
        slowest.set(name, Math.max(elapsed, slowest.get(name) ?? 0))
      }
    }
  }
  await Promise.all(Array.from({ length: LANES }, work))
  const [[name, elapsed] = ['', Number.NaN]] = [...slowest].sort((one, other) => other[1] - one[1])
  console.info(
    `${rounds * WAYS.length} revocations, ${circumstances}: the slowest took ${elapsed.toFixed(0)} ms (${name})`,
  )
  expect(elapsed).toBeLessThan(LIMIT_MS)
}

/** What was revoked stays so when a server is killed and starts again, and what is revoked then as well. */
async function expectToSurviveRestart(pair: ProcessPair): Promise<void> {
  const [one, two] = pair.servers
  const ada = await pair.newUser()
  const [ended, alive] = [await ada.logIn(), await ada.logIn()]
  await at(two, ada).call(TerminateSessionDocument, { input: { sessionId: ended.sessionId } })
  await two.restart()
  for (const server of pair.servers) {
    expect(await at(server, ended).call(MeDocument)).toBeNull()
    expect(await (await openSocket(server.url, { token: ended.accessToken })).closing).toMatchObject({ code: 4403 })
    const stream = await openStream(server.url, { token: ended.accessToken }, ALERTS)
    await stream.ended
    expect(stream.received).toMatchObject([{ errors: [{ extensions: { code: 'UNAUTHENTICATED' } }] }])
    const refused = await refresh(server, ended.refreshToken)
    expect(expectType(refused, 'InvalidRefreshTokenError').reason).toBe('REVOKED')
    expect((await at(server, alive).call(MeDocument))?.id).toBe(ada.id)
  }
  await at(one, ada).call(LogoutDocument)
  expect(await at(two, ada).call(MeDocument)).toBeNull()
  await expectQuick(pair, 'after a restart', 1)
}

describe('of two processes with nothing but one database', async () => {
  const pair = await startPair({})

  test('a revocation is everywhere within a second', () => expectQuick(pair, 'without Redis', hasRedis ? 4 : 22))

  test('a session that was revoked stays so when a server starts again', () => expectToSurviveRestart(pair))
})

describe.skipIf(!hasRedis)('of two processes with Redis', async () => {
  if (!hasRedis) return
  const redis = await startRedis()
  const pair = await startPair({ REDIS_URL: redis.url })
  const health = ({ url }: RunningServer) => fetch(`${url}/health`).then(async (answer) => (await answer.json()).cache)
  const untilCacheIs = (state: 'up' | 'down') =>
    eventually(() => Promise.all(pair.servers.map(health))).toEqual([state, state])

  test('a revocation is everywhere within a second', async () => {
    await untilCacheIs('up')
    await expectQuick(pair, 'with Redis', 22)
  })

  test('also while Redis does not answer, and afterwards', async () => {
    await untilCacheIs('up')
    redis.pause()
    await untilCacheIs('down')
    await expectQuick(pair, 'while Redis is paused', 2)
    redis.resume()
    await untilCacheIs('up')
    await expectQuick(pair, 'after Redis was paused', 1)
  })

  test('also while Redis is gone, and when it is back and empty', async () => {
    await untilCacheIs('up')
    await redis.kill()
    await untilCacheIs('down')
    await expectQuick(pair, 'while Redis is gone', 2)
    await redis.start()
    await untilCacheIs('up')
    await expectQuick(pair, 'after Redis came back empty', 1)
  })

  test('also in the moment in which Redis stops to answer', async () => {
    await untilCacheIs('up')
    const owner = await pair.newUser()
    const elapsed = await revoke(pair, pair.servers[1], { owner, password: owner.password }, async (...call) => {
      redis.pause()
      await WAYS[0]?.[1](...call)
    })
    redis.resume()
    console.info(`A revocation while Redis stops to answer took ${elapsed.toFixed(0)} ms`)
    expect(elapsed).toBeLessThan(LIMIT_MS)
    await untilCacheIs('up')
  })

  test('also when a server was killed and started again', async () => {
    await untilCacheIs('up')
    await expectToSurviveRestart(pair)
  })
})

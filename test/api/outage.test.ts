import { randomUUID } from 'node:crypto'
import { expect, inject, onTestFinished, test } from 'vitest'
import { NEXT_PASSWORD, startApp, type TestApp } from '../support/app.js'
import { spawnCli } from '../support/cli.js'
import { expectType } from '../support/client.js'
import { openDatabase } from '../support/database.js'
import { lockDatabase } from '../support/database-lock.js'
import { startDatabaseProxy } from '../support/database-proxy.js'
import { eventually } from '../support/eventually.js'
import {
  AuditLogDocument,
  ChangePasswordDocument,
  ExchangeTokenDocument,
  LoginDocument,
  MeDocument,
  RefreshDocument,
  VerifyEmailDocument,
} from '../support/generated/graphql.js'
import { proofOf, SUBJECTS } from '../support/mailbox.js'
import { freePort, hasRedis, startRedis } from '../support/redis-server.js'
import { type Result, serverSentEvents } from '../support/streams.js'

const ISSUER = { JWT_ISSUER: 'https://auth.example', JWT_AUDIENCE: 'https://auth.example' }
/** So many that each who tries has done so several times. */
const TRIES = 30
/** More than the buffers between two sockets take, so that the server has to wait for the reader in the midst of it. */
const EVENTS = 4000
const FILL = `
  INSERT INTO audit_inbox (type, occurred_at, success, risk_level, user_id, metadata)
  SELECT 'PROFILE_UPDATED', now(), true, 'HIGH', $1, jsonb_build_object('number', n, 'text', repeat('x', 4000))
  FROM generate_series(1, ${EVENTS}) AS n`
const END_OTHERS = 'SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE datname = $1'
const END_WAITING = `
  SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`
const [CLOSE, OPEN] = [false, true].map((is) => `ALTER DATABASE "database" ALLOW_CONNECTIONS ${is}`) as [string, string]

test('A subscription that replays outlives an outage of the database, without a gap', async () => {
  const app = await startApp({ env: ISSUER })
  const ada = await app.newUser()
  const { edges } = await ada.call(AuditLogDocument, { first: 1 })
  const { query } = await openDatabase(app.installation)
  await query(FILL, [ada.id])

  const proxy = await startDatabaseProxy(app.installation.databaseUrl)
  const server = await startApp({ env: { ...ISSUER, DATABASE_URL: proxy.url }, beside: app })
  const response = await fetch(`${server.url}/graphql`, {
    method: 'POST',
    headers: {
      ...{ 'content-type': 'application/json', accept: 'text/event-stream' },
      authorization: `Bearer ${ada.accessToken}`,
    },
    body: JSON.stringify({
      query: 'subscription ($after: String) { securityAlerts(after: $after) { node { metadata } } }',
      variables: { after: edges[0]?.cursor },
    }),
  })
  const isWaiting = () => server.log.lines.some((line) => line.includes('wait for the audit log'))
  const numbers: number[] = []
  let restored: Promise<void> | undefined
  for await (const { result } of serverSentEvents(response) as AsyncGenerator<{ result?: Result }>) {
    if (!result) continue
    numbers.push(result.data.securityAlerts.node.metadata.number)
    if (numbers.length === 1) {
      proxy.cut()
      restored = eventually(isWaiting).toBe(true).then(proxy.restore)
    }
    if (numbers.length === EVENTS) break
  }
  await restored
  expect(numbers).toEqual(Array.from({ length: EVENTS }, (_, index) => index + 1))
  server.log.problems.length = 0
})

test('An outage of the database is told of once by each who notices, and once more when it is over', async () => {
  const app = await startApp()
  const proxy = await startDatabaseProxy(app.installation.databaseUrl)
  const server = await startApp({ env: { DATABASE_URL: proxy.url }, beside: app })
  const linesWith = (text: string) => server.log.lines.filter((line) => line.includes(text)).length
  proxy.cut()
  await eventually(() => linesWith('The event feed could not be read')).toBe(1)
  await eventually(() => linesWith('The job queue failed')).toBe(1)
  await eventually(proxy.refused).toBeGreaterThan(TRIES)
  proxy.restore()
  await eventually(() => linesWith('The event feed is read again')).toBe(1)
  await eventually(() => linesWith('The job queue works again')).toBe(1)
  expect(linesWith('The event feed could not be read')).toBe(1)
  expect(linesWith('The job queue failed')).toBe(1)
  server.log.hush(/The job queue failed/)
})

test('That the public keys cannot be read is kept by no cache', async () => {
  const app = await startApp()
  const proxy = await startDatabaseProxy(app.installation.databaseUrl)
  const server = await startApp({ env: { DATABASE_URL: proxy.url }, beside: app })
  const keys = () => fetch(`${server.url}/.well-known/jwks.json`)
  expect((await keys()).headers.get('cache-control')).toBe('public, max-age=300')
  proxy.cut()
  server.clock.advance('2s')
  const { status, headers } = await keys()
  expect([status, headers.get('cache-control')]).toEqual([503, 'no-store'])
  proxy.restore()
  await eventually(async () => (await keys()).status).toBe(200)
  server.log.hush(/The job queue failed/)
})

test('Connections to the database that go silent are given up, and others take their place', async () => {
  const app = await startApp({ env: ISSUER })
  const ada = await app.newUser()
  const proxy = await startDatabaseProxy(app.installation.databaseUrl)
  const server = await startApp({ env: { ...ISSUER, REDIS_URL: '', DATABASE_URL: proxy.url }, beside: app })
  const there = server.anonymous.with({ authorization: `Bearer ${ada.accessToken}` })
  expect(await there.call(MeDocument)).toMatchObject({ id: ada.id })
  const askMe = () => there.post(JSON.stringify({ query: '{ me { id } }' }))
  proxy.silence()
  // The keys have to be looked up again.
  server.clock.advance('2s')
  const answers = await Promise.all([fetch(`${server.url}/health/ready`), askMe()])
  expect(answers.map(({ status }) => status)).toEqual([503, 503])
  await eventually(async () => (await askMe()).status).toBe(200)
  await eventually(async () => (await fetch(`${server.url}/health/ready`)).status).toBe(200)
  server.log.hush(/The job queue failed/)
})

test.each([
  ['takes no connections any more', [CLOSE], [OPEN]],
  [
    'has another name now',
    [CLOSE, 'ALTER DATABASE "database" RENAME TO "database-away"'],
    ['ALTER DATABASE "database-away" RENAME TO "database"', OPEN],
  ],
  ['does not let its role in any more', ['ALTER ROLE "role" NOLOGIN'], ['ALTER ROLE "role" LOGIN']],
])('A database that %s is away, which is no fault of a request', async (_, [shut, ...further], open) => {
  const { query } = await openDatabase({ databaseUrl: inject('database').url })
  const [role, password] = [`test-${randomUUID()}`, 'of this test']
  onTestFinished(async () => void (await query(`DROP ROLE "${role}"`)))
  const app = await startApp()
  const url = new URL(app.installation.databaseUrl)
  const name = url.pathname.slice(1)
  const alter = (statement = '') => query(statement.replace(/database(?=["-])/g, name).replace('role', role))
  await query(`CREATE ROLE "${role}" SUPERUSER LOGIN PASSWORD '${password}'`)
  const DATABASE_URL = Object.assign(url, { username: role, password }).href
  const server = await startApp({ env: { DATABASE_URL }, beside: app })

  await alter(shut)
  await query(END_OTHERS, [name])
  for (const statement of further) await alter(statement)
  const login = { input: { identifier: 'nobody@example.com', password: 'whatever it is' } }
  expect(await server.anonymous.refusal(LoginDocument, login)).toMatchObject({ code: 'SERVICE_UNAVAILABLE' })
  for (const statement of open) await alter(statement)
  await eventually(async () => (await server.anonymous.execute(LoginDocument, login)).data?.login?.__typename).toBe(
    'InvalidCredentialsError',
  )
  for (const { log } of [app, server]) log.hush(/The job queue failed/)
})

test('What waits too long for a lock was not done, and is worth another try', async () => {
  const app = await startApp()
  const ada = await app.newUser()
  const lock = await lockDatabase(app.installation, 'LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE')
  const refused = await ada.refusal('mutation { terminateAllSessions { __typename } }')
  expect(refused).toMatchObject({ status: 503, code: 'SERVICE_UNAVAILABLE' })
  await lock.release()
})

/** A new account that is verified, and not signed in yet: the address, and what the exchange token is traded in with. */
async function verifyAccount(app: TestApp) {
  const { email } = await app.register()
  const { token } = proofOf(await app.mail(email, SUBJECTS.verification))
  const verified = await app.anonymous.call(VerifyEmailDocument, { input: { token } })
  const { exchangeToken } = expectType(verified, 'VerifyEmailSuccess')
  return { email, input: { token: exchangeToken, tokenDelivery: 'BODY' as const } }
}

test('An account that is deactivated while its exchange token is taken in opens no session', async () => {
  const app = await startApp()
  const { email, input } = await verifyAccount(app)
  const lock = await lockDatabase(app.installation, `UPDATE users SET is_active = false WHERE email = '${email}'`)
  const answer = app.anonymous.call(ExchangeTokenDocument, { input })
  await lock.untilWaiting(1)
  await lock.release()
  expectType(await answer, 'InvalidTokenError')
})

test('An exchange token is not called invalid when its connection breaks off, and is good afterwards', async () => {
  const app = await startApp()
  const { input } = await verifyAccount(app)
  const lock = await lockDatabase(app.installation, 'LOCK TABLE one_time_tokens IN SHARE MODE')
  const answer = app.anonymous.refusal(ExchangeTokenDocument, { input })
  await lock.untilWaiting(1)
  await (await openDatabase(app.installation)).query(END_WAITING)
  expect((await answer).code).toBe('SERVICE_UNAVAILABLE')
  await lock.release()
  expectType(await app.anonymous.call(ExchangeTokenDocument, { input }), 'ExchangeTokenSuccess')
})

test('A signing key of another SECRET_KEY does not keep a server from verifying those that it can read', async () => {
  const one = await startApp({ env: ISSUER })
  const ada = await one.newUser()
  const { email } = await one.register()
  const { code } = proofOf(await one.mail(email, SUBJECTS.verification))
  const verified = await one.anonymous.call(VerifyEmailDocument, { input: { email, code } })
  const exchange = { input: { token: expectType(verified, 'VerifyEmailSuccess').exchangeToken } }
  const SECRET_KEY = 'a-new-key-that-only-the-other-one-has-got'
  await expect(startApp({ env: { ...ISSUER, SECRET_KEY }, beside: one })).rejects.toThrow(
    'was stored under a SECRET_KEY',
  )
  const keys = `${SECRET_KEY},the-tests-share-one-key-and-it-is-no-secret`
  const two = await startApp({ env: { ...ISSUER, SECRET_KEY: keys }, beside: one })
  await two.operator.rotateKeys()
  one.clock.advance('2s')
  expect(await ada.call(MeDocument)).toMatchObject({ id: ada.id })
  expect(one.log.problems).not.toEqual([])
  // It signs nothing, and uses nothing up for it.
  const [signIn, renewal] = [{ identifier: ada.email, password: ada.password }, { refreshToken: ada.refreshToken }]
  for (const refused of [
    await one.anonymous.refusal(LoginDocument, { input: signIn }),
    await one.anonymous.refusal(RefreshDocument, { input: renewal }),
    await one.anonymous.refusal(ExchangeTokenDocument, exchange),
    await ada.refusal(ChangePasswordDocument, { input: { currentPassword: ada.password, newPassword: NEXT_PASSWORD } }),
  ]) {
    expect(refused.code).toBe('INTERNAL_SERVER_ERROR')
  }
  expect((await fetch(`${one.url}/health/ready`)).status).toBe(503)
  expect((await fetch(`${two.url}/health/ready`)).status).toBe(200)
  const health = await fetch(`${one.url}/health`)
  expect(health.status).toBe(503)
  expect(await health.json()).toMatchObject({ status: 'unhealthy', database: 'up' })
  expect((await ada.sessions()).filter(({ isActive }) => isActive)).toHaveLength(1)
  expectType(await two.anonymous.call(ExchangeTokenDocument, exchange), 'ExchangeTokenSuccess')
  two.clock.advance('5m')
  expectType(await two.anonymous.call(RefreshDocument, { input: renewal }), 'RefreshSuccess')
  expectType(await two.anonymous.call(LoginDocument, { input: signIn }), 'LoginSuccess')
  one.log.problems.length = 0
})

test.skipIf(!hasRedis)('The command line ends when the database is away, also with a Redis', async () => {
  const redis = await startRedis()
  const DATABASE_URL = `postgresql://postgres@127.0.0.1:${await freePort()}/none`
  const { code, stderr } = await spawnCli('', { DATABASE_URL, REDIS_URL: redis.url }, 'user', 'list')
  expect(code).toBe(1)
  expect(stderr).toContain('ECONNREFUSED')
})

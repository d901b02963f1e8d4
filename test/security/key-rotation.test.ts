import { decodeProtectedHeader } from 'jose'
import { PgBoss } from 'pg-boss'
import { describe, expect, onTestFinished, test } from 'vitest'
import { startApp, type TestApp } from '../support/app.js'
import { runCli } from '../support/cli.js'
import { stopClock } from '../support/clock.js'
import { openDatabase } from '../support/database.js'
import { lockDatabase } from '../support/database-lock.js'
import { eventually } from '../support/eventually.js'
import { MeDocument } from '../support/generated/graphql.js'
import { createInstallation, type Installation } from '../support/installation.js'
import { metric } from '../support/metrics.js'
import { hasRedis, startRedis } from '../support/redis-server.js'
import type { User } from '../support/user.js'

const ISSUER = { JWT_ISSUER: 'https://auth.example', JWT_AUDIENCE: 'https://auth.example' }
const kidOf = ({ accessToken }: User) => decodeProtectedHeader(accessToken).kid ?? expect.fail('There is no kid')

async function publishedBy({ url }: TestApp): Promise<Set<string>> {
  const { keys } = (await (await fetch(`${url}/.well-known/jwks.json`)).json()) as { keys: { kid: string }[] }
  return new Set(keys.map(({ kid }) => kid))
}

/** Whom each of the processes takes the token for. */
const seenBy = (apps: TestApp[], { accessToken }: User) =>
  Promise.all(
    apps.map(async ({ anonymous }) => {
      const me = await anonymous.with({ authorization: `Bearer ${accessToken}` }).call(MeDocument)
      return me?.id ?? null
    }),
  )

const redis = hasRedis ? await startRedis() : null
const INSTALLATIONS = [
  ['over Redis', redis?.url ?? ''],
  ['with nothing but one database', ''],
] as const

describe.each(INSTALLATIONS.filter(([, url], index) => url || index > 0))('two processes %s', async (_, redisUrl) => {
  const env = { ...ISSUER, REDIS_URL: redisUrl }
  const one = await startApp({ env })
  const two = await startApp({ env, beside: one })
  const both = [one, two]
  const { clock } = one

  async function keys(...args: string[]): Promise<{ kid: string; revoked?: string }> {
    const database = { DATABASE_URL: one.installation.databaseUrl }
    const { code, stdout, stderr } = await runCli({ ...env, ...database }, 'keys', '--json', ...args)
    expect({ code, stderr }).toMatchObject({ code: 0 })
    return JSON.parse(stdout)
  }

  test('refuse a key that signs no more, and go on with the one that does', async () => {
    const ada = await one.newUser()
    const { kid } = await keys('rotate')
    clock.advance('1s')
    const later = await ada.logIn()
    expect(await seenBy(both, ada)).toEqual([ada.id, ada.id])
    expect(await keys('revoke', '--', kidOf(ada))).toEqual({ revoked: kidOf(ada), kid })
    clock.advance('1s')
    expect(await seenBy(both, ada)).toEqual([null, null])
    expect(await seenBy(both, later)).toEqual([ada.id, ada.id])
    expect(await publishedBy(two)).toEqual(new Set([kid]))
  })

  test('accept at once what the other one has signed with a key that it has just made', async () => {
    const ada = await one.newUser()
    // Both look now, and by themselves not again for a second.
    clock.advance('1s')
    expect(await seenBy(both, ada)).toEqual([ada.id, ada.id])
    await one.operator.revokeKey(kidOf(ada))
    const next = await ada.logIn()
    expect(kidOf(next)).not.toBe(kidOf(ada))
    // Long before the other one would look by itself.
    clock.advance('200ms')
    expect(await seenBy(both, next)).toEqual([ada.id, ada.id])
  })

  test('sign with a new key after `keys rotate`, and accept the tokens of the old one until they expire', async () => {
    const ada = await one.newUser()
    const old = kidOf(ada)
    expect(await seenBy(both, ada)).toEqual([ada.id, ada.id])
    const { kid } = await keys('rotate')
    expect(kid).not.toBe(old)
    clock.advance('1s')
    expect(kidOf(await ada.logIn())).toBe(kid)
    for (const app of both) expect(await publishedBy(app)).toEqual(new Set([kid, old]))
    clock.advance('14m')
    expect(await seenBy(both, ada)).toEqual([ada.id, ada.id])
    clock.advance('3m')
    expect(await seenBy(both, ada)).toEqual([null, null])
    for (const app of both) expect(await publishedBy(app)).toEqual(new Set([kid]))
    expect(kidOf(await ada.refreshed())).toBe(kid)
  })
})

test('Looking after keys costs no statement a request', async () => {
  const app = await startApp()
  const count = () => metric(app.url, 'database_queries_total')
  const costs: number[] = []
  for (let round = 0; round < 25; round += 1) {
    const before = await count()
    await publishedBy(app)
    costs.push((await count()) - before)
  }
  expect(Math.min(...costs)).toBe(0)
})

test.skipIf(!redis)('The bus alone tells another process at once: for this one no second ever passes', async () => {
  const env = { ...ISSUER, REDIS_URL: redis?.url ?? '' }
  const one = await startApp({ env })
  const ada = await one.newUser()
  const start = one.clock.now()
  const clock = { now: () => start, advance: one.clock.advance }
  const two = await startApp({ env, beside: { installation: { ...one.installation, clock } } })
  expect(await seenBy([one, two], ada)).toEqual([ada.id, ada.id])
  await one.operator.revokeKey(kidOf(ada))
  expect(await seenBy([one], ada)).toEqual([null])
  await eventually(() => seenBy([two], ada)).toEqual([null])
})

describe('of those who make keys at the same time', () => {
  /** Three times at once: no key is written before all have begun. */
  async function together<T>(installation: Installation, make: () => Promise<T>): Promise<T[]> {
    const lock = await lockDatabase(installation, 'LOCK TABLE signing_keys IN SHARE MODE')
    const made = Promise.all([make(), make(), make()])
    await lock.untilWaiting(3)
    await lock.release()
    return made
  }

  test('one makes the first, for servers that start on a database without any', async () => {
    const installation = await createInstallation()
    onTestFinished(installation.remove)
    await (await openDatabase(installation)).query('DELETE FROM signing_keys')
    const apps = await together(installation, () => startApp({ env: ISSUER, beside: { installation } }))
    const published = await Promise.all(apps.map(publishedBy))
    expect(published[0]?.size).toBe(1)
    for (const each of published) expect(each).toEqual(published[0])
  })

  test('each retires the key of the one before: in the end one signs', async () => {
    const app = await startApp()
    const kids = await together(app.installation, app.operator.rotateKeys)
    app.clock.advance('1h')
    const published = await publishedBy(app)
    expect(published.size).toBe(1)
    expect(kids).toContain([...published][0])
  })
})

test('A key verifies for a minute longer than its last token lives, and not for longer because of the next one', async () => {
  const app = await startApp()
  const first = kidOf(await app.newUser())
  stopClock(app.clock)
  await app.operator.rotateKeys()
  app.clock.advance('10m')
  await app.operator.rotateKeys()
  app.clock.advance('5m')
  const before = await publishedBy(app)
  expect(before.size).toBe(3)
  app.clock.advance('1m')
  before.delete(first)
  expect(await publishedBy(app)).toEqual(before)
})

describe('the schedule', () => {
  /** Has the job done now that is due every hour. */
  async function runJob({ installation, operator }: TestApp): Promise<void> {
    const boss = new PgBoss({ connectionString: installation.databaseUrl, schema: 'jobs', migrate: false, max: 1 })
    await boss.start()
    try {
      const schedules = await boss.getSchedules('rotate-keys')
      expect(schedules).toMatchObject([{ cron: '47 * * * *' }])
      const id = (await boss.send('rotate-keys', {})) ?? expect.fail('The job was not accepted')
      await eventually(async () => {
        operator.wake('rotate-keys')
        return (await boss.findJobs('rotate-keys', { id }))[0]?.state
      }).toBe('completed')
    } finally {
      await boss.stop({ graceful: false })
    }
  }

  test('replaces the signing key when it is as old as KEY_ROTATION_INTERVAL says, and not before', async () => {
    const app = await startApp({ env: { KEY_ROTATION_INTERVAL: '30d', ACCESS_TOKEN_LIFETIME: '1h' } })
    const first = kidOf(await app.newUser())
    app.clock.advance('29d')
    await runJob(app)
    expect(await publishedBy(app)).toEqual(new Set([first]))
    app.clock.advance('1d')
    const ada = await app.newUser()
    await runJob(app)
    const second = kidOf(await ada.logIn())
    expect(second).not.toBe(first)
    expect(await publishedBy(app)).toEqual(new Set([first, second]))
    expect(await seenBy([app], ada)).toEqual([ada.id])
    await runJob(app)
    expect(await publishedBy(app)).toEqual(new Set([first, second]))
  })

  test('does nothing with KEY_ROTATION_INTERVAL=off', async () => {
    const app = await startApp({ env: { KEY_ROTATION_INTERVAL: 'off' } })
    const before = await publishedBy(app)
    app.clock.advance('1000d')
    await runJob(app)
    expect(await publishedBy(app)).toEqual(before)
  })
})

describe('`keys revoke` of the command line', () => {
  test('explains itself', async () => {
    const { code, stdout } = await runCli({}, 'keys', 'revoke', '--help')
    expect(code).toBe(0)
    expect(stdout).toContain('Examples:')
  })

  test.each<[string, Record<string, string>, string]>([
    ['a key that there is not, and says which there are', {}, 'There is no signing key unknown. There are: '],
    [
      'with HS256',
      { JWT_ALGORITHM: 'HS256', JWT_SIGNING_KEY: 'x'.repeat(32) },
      'by removing them from JWT_SIGNING_KEY',
    ],
  ])('refuses %s', async (_, env, message) => {
    const app = await startApp({ env })
    const result = await runCli({ ...env, DATABASE_URL: app.installation.databaseUrl }, 'keys', 'revoke', 'unknown')
    expect(result).toMatchObject({ code: 1, stdout: '', stderr: expect.stringContaining(message) })
  })

  test('without the JWT_ALGORITHM of the servers, makes the key that they go on with', async () => {
    const app = await startApp({ env: { JWT_ALGORITHM: 'ES256' } })
    const ada = await app.newUser()
    const env = { DATABASE_URL: app.installation.databaseUrl }
    const { code, stdout } = await runCli(env, 'keys', 'revoke', '--json', '--', kidOf(ada))
    expect(code).toBe(0)
    app.clock.advance('2s')
    const later = await ada.refreshed()
    expect(decodeProtectedHeader(later.accessToken)).toMatchObject({ alg: 'ES256', kid: JSON.parse(stdout).kid })
    expect(await publishedBy(app)).toEqual(new Set([kidOf(later)]))
  })
})

import { afterAll, describe, expect, test } from 'vitest'
import { PASSWORD, startApp } from '../support/app.js'
import { feedCli, runCli, spawnCli } from '../support/cli.js'
import { expectType } from '../support/client.js'
import { openDatabase } from '../support/database.js'
import { lockDatabase } from '../support/database-lock.js'
import { DEVICES } from '../support/devices.js'
import { eventually } from '../support/eventually.js'
import { AuditLogDocument, LoginDocument, MeDocument, RefreshDocument } from '../support/generated/graphql.js'
import { createInstallation } from '../support/installation.js'
import { metric } from '../support/metrics.js'
import { hasRedis, startRedis } from '../support/redis-server.js'
import { openSocket } from '../support/streams.js'

const redis = hasRedis ? await startRedis() : null
// The prefix of every installation: the command line removes from Redis what it has changed.
const installation = { ...(await createInstallation()), redisPrefix: 'portcullis:' }
afterAll(installation.remove)
const settings = { REDIS_URL: redis?.url ?? '', DATABASE_URL: installation.databaseUrl }
const app = await startApp({ env: settings, beside: { installation } })
const uuid = expect.stringMatching(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/)
const byCommandLine = expect.stringMatching(/^cli-[0-9a-f-]{36}$/)

/** What `user` prints, with that on its standard input. */
async function user(args: string[], input = ''): Promise<string> {
  const { code, stdout, stderr } = await feedCli(input, settings, 'user', ...args)
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  return stdout
}
const userJson = async (args: string[], input?: string) => JSON.parse(await user([...args, '--json'], input))
const logIn = (identifier: string, password = PASSWORD) =>
  app.anonymous.call(LoginDocument, { input: { identifier, password, tokenDelivery: 'BODY' } })

/** Every account, and how much else there is that a refused command must not add to. */
async function accounts() {
  const { query } = await openDatabase(installation)
  const { rows } = await query(`
    SELECT (SELECT json_agg(u ORDER BY id)::text FROM users u) AS users,
           (SELECT count(*)::int FROM password_history) AS passwords, (SELECT count(*)::int FROM sessions) AS sessions,
           (SELECT count(*)::int FROM audit_inbox) + (SELECT count(*)::int FROM audit_events) AS events`)
  return rows
}

describe('`user create`', () => {
  test('prints a password that it has made, once, and the account signs in with it', async () => {
    const stdout = await user(['create', '--email', 'Grace@example.com', '--role', 'admin'])
    expect(stdout).toMatch(/^Created Grace@example\.com \(admin\), id [0-9a-f-]{36}\.\nPassword: [\w-]{24}\n$/)
    const [, password = ''] = /Password: (\S+)/.exec(stdout) ?? []
    const { authentication } = expectType(await logIn('grace@example.com', password), 'LoginSuccess')
    expect(authentication.user).toMatchObject({ role: 'admin', permissions: ['audit:read'], emailVerified: true })
    const events = await app.eventsOf(authentication.user, { types: ['REGISTERED', 'EMAIL_VERIFIED'] })
    const fields = { success: true, ipAddress: null, correlationId: byCommandLine }
    expect(events).toMatchObject(['EMAIL_VERIFIED', 'REGISTERED'].map((type) => ({ type, ...fields })))
    expect(await app.mailsTo('Grace@example.com')).toEqual([])
  })

  test('with --json prints account and password, each password another one', async () => {
    const created = await userJson(['create', '--email', 'joan@example.com'])
    const other = await userJson(['create', '--email', 'kay@example.com'])
    const account = { email: 'joan@example.com', username: null, role: 'user', permissions: [], isActive: true }
    const password = expect.stringMatching(/^[\w-]{24}$/)
    expect(created).toEqual({ user: { ...account, id: uuid }, password })
    expect(other.password).not.toBe(created.password)
    expectType(await logIn('joan@example.com', created.password), 'LoginSuccess')
  })

  test('with --password-stdin takes the first line, and prints no password', async () => {
    const named = ['--email', 'mary@example.com', '--username', 'mary', '--password-stdin', '--json']
    const printed = await spawnCli(`${PASSWORD}\nnot this line\n`, settings, 'user', 'create', ...named)
    const created = JSON.parse(printed.stdout)
    const account = { email: 'mary@example.com', username: 'mary', role: 'user', permissions: [], isActive: true }
    expect(created).toEqual({ user: { ...account, id: uuid } })
    expectType(await logIn('mary'), 'LoginSuccess')
  })

  test.each([
    [
      'a weak password',
      { email: 'new@example.com' },
      'password',
      /^Use at least 12 characters\. This password is among the most common ones\./,
    ],
    ['no password at all', { email: 'new@example.com' }, '', /^There is no password on standard input\n$/],
    [
      'an address that has an account',
      { email: 'ADA@example.com' },
      PASSWORD,
      /^There is an account with the address /,
    ],
    [
      'a username that is taken',
      { email: 'new@example.com', username: 'Ada' },
      PASSWORD,
      /^That username is taken\.\n$/,
    ],
    [
      'a role that there is not, and says which there are',
      { email: 'new@example.com', role: 'root' },
      PASSWORD,
      /^There is no role "root"; there are: admin, user\n$/,
    ],
    [
      'what is no address',
      { email: 'new@' },
      PASSWORD,
      /^error: option '--email <address>' argument 'new@' is invalid\./,
    ],
  ])('refuses %s, and changes nothing', async (_, options, password, message) => {
    if ((await logIn('ada')).__typename !== 'LoginSuccess')
      await app.newUser({ email: 'ada@example.com', username: 'ada' })
    const before = await accounts()
    const given = Object.entries(options).flatMap(([name, value]) => [`--${name}`, value])
    const result = await feedCli(password, settings, 'user', 'create', ...given, '--password-stdin', '--json')
    expect(result).toEqual({ code: 1, stdout: '', stderr: expect.stringMatching(message) })
    expect(await accounts()).toEqual(before)
  })
})

describe('`user grant` takes effect on the next request', () => {
  test('with a permission', async () => {
    const hedy = await app.newUser()
    const everyone = { scope: 'EVERYONE' as const, first: 1 }
    expect((await hedy.refusal(AuditLogDocument, everyone)).code).toBe('FORBIDDEN')
    const { user: granted } = await userJson(['grant', hedy.email, 'audit:read'])
    const account = { email: hedy.email, username: null, role: 'user', permissions: ['audit:read'], isActive: true }
    expect(granted).toEqual({ ...account, id: hedy.id })
    expect((await hedy.call(AuditLogDocument, everyone)).edges).toHaveLength(1)
    const [event] = await app.eventsOf(hedy, { types: ['PROFILE_UPDATED'] })
    const metadata = { fields: ['permissions'], granted: 'audit:read' }
    expect(event).toMatchObject({ success: true, correlationId: byCommandLine, metadata })
  })

  test('and is taken back by `user revoke`, once', async () => {
    const hedy = await app.newUser()
    await app.operator.grant(hedy.email, 'audit:read')
    const stdout = await user(['revoke', hedy.email, 'audit:read'])
    expect(stdout).toBe(`${hedy.email} has the role user and the permissions: none.\n`)
    expect((await hedy.refusal(AuditLogDocument, { scope: 'EVERYONE', first: 1 })).code).toBe('FORBIDDEN')
    const [event] = await app.eventsOf(hedy, { types: ['PROFILE_UPDATED'] })
    expect(event).toMatchObject({ metadata: { fields: ['permissions'], revoked: 'audit:read' } })
    const again = await runCli(settings, 'user', 'revoke', hedy.email, 'audit:read')
    expect(again).toMatchObject({ code: 1, stderr: expect.stringContaining('was not given the permission') })
  })

  test('with a role', async () => {
    const hedy = await app.newUser()
    // From the cache, where there is one: five seconds after the login at the earliest.
    const hits = () => metric(app.url, 'cache_reads_total{result="hit"}')
    await eventually(async () => {
      const before = await hits()
      expect(await hedy.call(MeDocument)).toMatchObject({ role: 'user', permissions: [] })
      return (await hits()) - before
    }).toBe(redis ? 2 : 0)
    const stdout = await user(['grant', hedy.id, 'admin'])
    expect(stdout).toBe(`${hedy.email} has the role admin and the permissions: audit:read.\n`)
    expect(await hedy.call(MeDocument)).toMatchObject({ role: 'admin', permissions: ['audit:read'] })
  })

  test('and not with a name that there is not', async () => {
    const hedy = await app.newUser()
    const message = 'There is no role and no permission "root"\n'
    expect(await runCli(settings, 'user', 'grant', hedy.email, 'root')).toEqual({
      code: 1,
      stdout: '',
      stderr: message,
    })
    expect(await hedy.call(MeDocument)).toMatchObject({ role: 'user', permissions: [] })
  })
})

test('`user unlock` lets a locked account sign in again', async () => {
  const hedy = await app.newUser({ username: 'hedy' })
  const stranger = app.anonymous.with({ 'user-agent': DEVICES.chromeOnWindows, 'x-forwarded-for': '203.0.113.9' })
  const wrong = { input: { identifier: 'hedy', password: 'not the password of hedy' } }
  for (let time = 1; time <= 5; time += 1) await stranger.call(LoginDocument, wrong)
  expectType(await logIn('hedy'), 'AccountLockedError')
  expect(await userJson(['unlock', 'HEDY'])).toEqual({ wasLocked: true })
  expectType(await logIn('hedy'), 'LoginSuccess')
  const [event] = await app.eventsOf(hedy, { types: ['ACCOUNT_UNLOCKED'] })
  expect(event).toMatchObject({ success: true, correlationId: byCommandLine })
  expect(await user(['unlock', hedy.email])).toBe('The account was not locked.\n')
})

test('`user deactivate` refuses the sessions of the account at once, and every login', async () => {
  const hedy = await app.newUser()
  const other = await hedy.logIn()
  const socket = await openSocket(app.url, { token: other.accessToken })
  expect(await socket.ask('{ me { id } }')).toEqual({ data: { me: { id: hedy.id } } })
  expect(await hedy.call(MeDocument)).toMatchObject({ id: hedy.id })
  expect(await userJson(['deactivate', hedy.email])).toEqual({ wasActive: true, endedSessions: 2 })
  for (const { call, refreshToken } of [hedy, other]) {
    expect(await call(MeDocument)).toBeNull()
    const refused = await app.anonymous.call(RefreshDocument, { input: { refreshToken } })
    expect(refused).toMatchObject({ code: 'INVALID_REFRESH_TOKEN', reason: 'REVOKED' })
  }
  expect(await socket.closing).toMatchObject({ code: 4403 })
  expect(await logIn(hedy.email)).toEqual({
    ...{ __typename: 'InvalidCredentialsError', code: 'INVALID_CREDENTIALS' },
    message: 'The identifier or the password is not correct.',
  })
  const ended = await app.eventsOf(hedy, { types: ['SESSION_TERMINATED'] })
  expect(ended.map(({ metadata, correlationId }) => ({ metadata, correlationId }))).toEqual(
    [hedy, other].map(() => ({ metadata: { reason: 'ADMIN' }, correlationId: byCommandLine })),
  )
})

test('`user activate` takes that back, but no session; done twice, neither records a second event', async () => {
  const hedy = await app.newUser()
  expect(await user(['deactivate', hedy.email])).toBe('The account was deactivated. Sessions that were ended: 1.\n')
  const again = 'The account was deactivated before. Sessions that were ended: 0.\n'
  expect(await user(['deactivate', hedy.email])).toBe(again)
  expect(await userJson(['activate', hedy.email])).toEqual({ wasActive: false })
  expect(await user(['activate', hedy.email])).toBe('The account was active before.\n')
  expect(await hedy.call(MeDocument)).toBeNull()
  expectType(await logIn(hedy.email), 'LoginSuccess')
  const events = await app.eventsOf(hedy, { types: ['PROFILE_UPDATED'] })
  const metadata = [true, false].map((isActive) => ({ fields: ['isActive'], isActive }))
  expect(events).toMatchObject(metadata.map((each) => ({ metadata: each, correlationId: byCommandLine })))
})

test('`user list` tells registrations that wait from accounts', async () => {
  const { email } = await app.register()
  const { users } = await userJson(['list'])
  expect(users).toContainEqual(expect.objectContaining({ email, pendingUntil: expect.stringMatching(/^\d{4}-/) }))
  expect(await user(['list'])).toMatch(new RegExp(`${email} .* waiting +never`))
})

test('Of two permissions that are granted at once, both are there', async () => {
  const { query } = await openDatabase(installation)
  await query(`INSERT INTO permissions (name, description) VALUES ('one:read', ''), ('two:read', '')`)
  const ada = await app.newUser()
  const lock = await lockDatabase(installation, `SELECT FROM users WHERE id = '${ada.id}' FOR UPDATE`)
  const granted = Promise.all(['one:read', 'two:read'].map((name) => app.operator.grant(ada.email, name)))
  await lock.untilWaiting(2)
  await lock.release()
  await granted
  expect((await ada.call(MeDocument))?.permissions.sort()).toEqual(['one:read', 'two:read'])
})

test.each([['grant', 'admin'], ['unlock'], ['deactivate'], ['activate']])(
  "`user %s` says that there is no such account, also of a registration that waits: it may be a stranger's",
  async (command, ...more) => {
    const { email } = await app.register()
    for (const account of ['nobody@example.com', email]) {
      const result = await runCli(settings, 'user', command, account, ...more)
      expect(result).toEqual({ code: 1, stdout: '', stderr: `There is no account "${account}"\n` })
    }
  },
)

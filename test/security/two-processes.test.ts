import { decodeProtectedHeader } from 'jose'
import { describe, expect, test, vi } from 'vitest'
import { NEXT_PASSWORD, PASSWORD } from '../support/app.js'
import { runCli } from '../support/cli.js'
import { expectType } from '../support/client.js'
import { openDatabase } from '../support/database.js'
import { eventually } from '../support/eventually.js'
import {
  AuditLogDocument,
  ChangePasswordDocument,
  LoginDocument,
  MeDocument,
  RefreshDocument,
  RegisterDocument,
  RequestPasswordResetDocument,
  VerifyTokenDocument,
} from '../support/generated/graphql.js'
import { at, startPair } from '../support/process-pair.js'
import { hasRedis, startRedis } from '../support/redis-server.js'
import { startSmtp } from '../support/smtp.js'
import { openSocket, openStream } from '../support/streams.js'
import type { User } from '../support/user.js'

const ALERTS =
  'subscription ($after: String) { securityAlerts(after: $after, minRiskLevel: LOW) { cursor node { type } } }'
const LIVE_TOKENS = `SELECT count(*)::int AS count FROM refresh_tokens WHERE session_id = $1 AND state = 'LIVE'`
const WAITING_MAILS = `SELECT FROM jobs.job WHERE name IN ('mail-request', 'send-email') AND state < 'completed'`

const redis = hasRedis ? await startRedis() : null
const INSTALLATIONS = [
  ['over Redis', redis?.url ?? ''],
  ['with nothing but one database', ''],
] as const

describe.each(INSTALLATIONS.filter(([, url], index) => url || index > 0))('two processes %s', async (_, redisUrl) => {
  const smtp = await startSmtp()
  const settings = { REDIS_URL: redisUrl, SMTP_URL: smtp.url, LOCKOUT_THRESHOLD: '1000' }
  const limits = { RATE_LIMITS: 'checkPassword=5/1h;*=1000000/1m' }
  const pair = await startPair({ ...settings, ...limits }, [
    { MAIL_FROM: 'one@example.org' },
    { MAIL_FROM: 'two@example.org' },
  ])
  const { servers, newUser } = pair
  const [one, two] = servers
  const either = (index: number) => (index % 2 === 0 ? one : two)
  const refresh = (index: number, refreshToken: string) =>
    either(index).anonymous.call(RefreshDocument, { input: { refreshToken } })
  const wrong = ({ email }: User) => ({ input: { identifier: email, password: 'not the password' } })
  /** Whom each of them takes the token for. */
  const seenByBoth = (user: User) =>
    Promise.all(servers.map(async (server) => (await at(server, user).call(MeDocument))?.id ?? null))

  test('give one successor to 50 refreshes with one token at the same time, and keep the session alive', async () => {
    const ada = await newUser()
    const { query } = await openDatabase(pair.installation)
    for (let round = 0, token = ada.refreshToken; round < 3; round += 1) {
      const refreshes = Array.from({ length: 50 }, (_each, index) => refresh(index, token))
      const results = (await Promise.all(refreshes)).map((result) => expectType(result, 'RefreshSuccess'))
      const successors = new Set(results.map(({ authentication }) => authentication.refreshToken ?? ''))
      expect(successors.size).toBe(1)
      expect(results.filter(({ outcome }) => outcome === 'ROTATED')).toHaveLength(1)
      expect((await query(LIVE_TOKENS, [ada.sessionId])).rows).toEqual([{ count: 1 }])
      expect(await seenByBoth(ada)).toEqual([ada.id, ada.id])
      token = [...successors][0] ?? ''
    }
    const filter = { types: ['TOKEN_REUSE_DETECTED' as const, 'SESSION_TERMINATED' as const] }
    expect((await ada.call(AuditLogDocument, { filter })).edges).toEqual([])
  })

  test('tell subscribers of each other what happens, in the same order and once', async () => {
    const ada = await newUser()
    const after = (await ada.call(AuditLogDocument, { first: 1 })).edges[0]?.cursor
    const open = async ({ url }: { url: string }) =>
      (await openSocket(url, { token: ada.accessToken })).follow(ALERTS, { after })
    const [first, second] = [await open(one), await open(two)]
    await one.anonymous.call(LoginDocument, wrong(ada))
    expect((await second.next()).data.securityAlerts.node).toEqual({ type: 'LOGIN_FAILED' })
    await two.anonymous.call(LoginDocument, wrong(ada))
    await first.next()
    expect((await first.next()).data.securityAlerts.node).toEqual({ type: 'LOGIN_FAILED' })
    for (let round = 0; round < 5; round += 1) {
      await Promise.all(servers.map(({ anonymous }) => anonymous.call(LoginDocument, wrong(ada))))
    }
    await eventually(() => [first.received.length, second.received.length]).toEqual([12, 12])
    expect(second.received).toEqual(first.received)
    expect(new Set(first.received.map(({ data }) => data.securityAlerts.cursor)).size).toBe(12)
  })

  test('refuse a key within a second of `keys revoke`, and the tokens that they know; a new one signs', async () => {
    const ada = await newUser()
    const { kid: old = '' } = decodeProtectedHeader(ada.accessToken)
    const { accessToken: token } = ada
    const sockets = await Promise.all(servers.map(({ url }) => openSocket(url, { token })))
    const streams = await Promise.all(servers.map(({ url }) => openStream(url, { token }, ALERTS)))
    expect(await seenByBoth(ada)).toEqual([ada.id, ada.id])
    const { code, stdout } = await runCli(pair.env, 'keys', '--json', 'revoke', '--', old)
    const start = performance.now()
    expect(code).toBe(0)
    const { kid, revoked } = JSON.parse(stdout)
    expect([revoked, kid === old]).toEqual([old, false])
    const refused = vi.waitUntil(async () => (await seenByBoth(ada)).every((each) => each === null), { interval: 10 })
    const codes = sockets.map(async ({ closing }) => expect(await closing).toMatchObject({ code: 4401 }))
    await Promise.all([refused, ...codes, ...streams.map(({ ended }) => ended)])
    expect(performance.now() - start).toBeLessThan(1_000)
    for (const { url, anonymous } of servers) {
      expectType(await anonymous.call(VerifyTokenDocument, { input: { token } }), 'InvalidTokenError')
      const { keys } = (await (await fetch(`${url}/.well-known/jwks.json`)).json()) as { keys: { kid: string }[] }
      expect(keys.map((key) => key.kid)).toEqual([kid])
    }
    // The session lives on: its refresh token gives a token of the new key, which both accept.
    const next = await ada.refreshed()
    expect(decodeProtectedHeader(next.accessToken).kid).toBe(kid)
    expect(await seenByBoth(next)).toEqual([ada.id, ada.id])
  })

  test('send every mail once, whichever of them was asked', async () => {
    const before = smtp.delivered.length
    const users = await Promise.all(Array.from({ length: 10 }, () => newUser()))
    const expected = users.flatMap(({ email }) => [`${email} changed`, `${email} reset`])
    const asking = users.flatMap((user, index) => {
      const input = { currentPassword: PASSWORD, newPassword: NEXT_PASSWORD }
      const { email } = user
      const registration = { email: `new-${email}`, password: PASSWORD, termsAccepted: true }
      expected.push(`new-${email} verify`)
      return [
        at(either(index), user).call(ChangePasswordDocument, { input }),
        either(index + 1).anonymous.call(RequestPasswordResetDocument, { input: { email } }),
        either(index).anonymous.call(RegisterDocument, { input: { ...registration, privacyPolicyAccepted: true } }),
      ]
    })
    await Promise.all(asking)
    const { query } = await openDatabase(pair.installation)
    await eventually(async () => (await query(WAITING_MAILS)).rowCount, 60_000).toBe(0)
    const mails = smtp.delivered.slice(before)
    const told = mails.map(({ to, source }) => {
      const [, subject = ''] = /^Subject: (.+)\r$/m.exec(source) ?? []
      return `${to} ${/changed|reset|verify/i.exec(subject)?.[0].toLowerCase()}`
    })
    expect(told.sort()).toEqual(expected.sort())
    // Both have worked.
    const senders = new Set(mails.map(({ source }) => /^From: (.+)\r$/m.exec(source)?.[1]))
    expect(senders).toEqual(new Set(['one@example.org', 'two@example.org']))
  })

  if (redisUrl === '') return

  test('count as one: of 20 calls at the same time exactly 5 pass a limit of 5', async () => {
    const query = 'mutation { checkPassword(input: { password: "x" }) { __typename } }'
    const calls = Array.from({ length: 20 }, (_each, index) => either(index).anonymous.post(JSON.stringify({ query })))
    const statuses = (await Promise.all(calls)).map(({ status }) => status)
    expect(statuses.sort()).toEqual([...Array(5).fill(200), ...Array(15).fill(429)])
  })
})

import { describe, expect, test } from 'vitest'
import { startApp } from '../support/app.js'
import { expectType } from '../support/client.js'
import { LoginDocument, RefreshDocument } from '../support/generated/graphql.js'
import type { User } from '../support/user.js'

// One installation, so that the limits of one server do not stand in the way of preparing what the other one needs.
const ISSUER = { JWT_ISSUER: 'https://auth.example', JWT_AUDIENCE: 'https://auth.example' }
const unlimited = await startApp({ env: ISSUER })
const app = await startApp({ env: { ...ISSUER, RATE_LIMITS: '' }, beside: unlimited })
const [ada, bob] = [await unlimited.newUser(), await unlimited.newUser()]

const MINUTE = 60
const HOUR = 3600
const UNKNOWN_ID = '019a0000-0000-7000-8000-000000000000'

let addresses = 0
function newAddress(): string {
  addresses += 1
  return `198.51.100.${addresses}`
}

/** Who calls from an address; nobody in particular unless a user is given. */
const from = (address: string, user?: User) =>
  app.anonymous.with({
    'x-forwarded-for': address,
    ...(user && { authorization: `Bearer ${user.accessToken}` }),
  })

const isQuery = (call: string) => call.startsWith('csrfToken') || call.startsWith('sessions')
/** That many calls of the field, one after the other; `#` is the number of the call. Gives the last answer. */
async function make(client: typeof app.anonymous, call: string, count: number): ReturnType<typeof client.post> {
  const query = `${isQuery(call) ? 'query' : 'mutation'} { ${call.replaceAll('#', `${count}`)} }`
  const answer = await client.post(JSON.stringify({ query }))
  return count > 1 && answer.errors.length === 0 ? make(client, call, count - 1) : answer
}

const login = (identifier: string) => `login(input: { identifier: "${identifier}", password: "x" }) { __typename }`
const reset = (email: string) => `requestPasswordReset(input: { email: "${email}" }) { __typename }`
const refresh = (family: string) =>
  `refresh(input: { refreshToken: "${family.padEnd(24, 'f')}${'x'.repeat(43)}" }) { __typename }`
const change = 'changePassword(input: { currentPassword: "x", newPassword: "amber lantern 7" }) { __typename }'
const register =
  'register(input: { email: "a#@example.com", password: "x", termsAccepted: true, privacyPolicyAccepted: true }) { __typename }'

describe('by default', () => {
  test.each([
    ['login', 5, MINUTE, 'address and identifier', login('nobody@example.com')],
    ['login', 25, HOUR, 'address', login('nobody#@example.com')],
    ['register', 5, HOUR, 'address', register],
    ['requestPasswordReset', 3, MINUTE, 'address and e-mail address', reset('nobody@example.com')],
    ['requestPasswordReset', 5, HOUR, 'address', reset('nobody#@example.com')],
    ['resetPassword', 10, HOUR, 'address', 'resetPassword(input: { token: "x", newPassword: "x" }) { __typename }'],
    ['verifyEmail', 10, HOUR, 'address', 'verifyEmail(input: { token: "x" }) { __typename }'],
    [
      'resendVerificationEmail',
      5,
      HOUR,
      'address',
      'resendVerificationEmail(input: { email: "a@b.example" }) { __typename }',
    ],
    ['exchangeToken', 10, HOUR, 'address', 'exchangeToken(input: { token: "x" }) { __typename }'],
    ['refresh', 60, HOUR, 'session', refresh('one')],
    ['verifyToken', 100, HOUR, 'address', 'verifyToken(input: { token: "x" }) { __typename }'],
    ['csrfToken', 100, HOUR, 'address', 'csrfToken'],
    ['checkPassword', 30, MINUTE, 'address', 'checkPassword(input: { password: "x" }) { __typename }'],
    ['changePassword', 10, HOUR, 'user', change],
    ['sessions', 30, HOUR, 'user', 'sessions(first: 1) { __typename }'],
    ['terminateSession', 30, HOUR, 'user', `terminateSession(input: { sessionId: "${UNKNOWN_ID}" }) { __typename }`],
    ['terminateAllSessions', 10, HOUR, 'user', 'terminateAllSessions { __typename }'],
  ])('%s is limited to %i in %i seconds, by %s', async (_field, max, seconds, by, call) => {
    const user = by === 'user' ? ada : undefined
    const address = newAddress()
    const allowed = await make(from(address, user), call, max)
    expect(allowed.errors).toEqual([])
    expect(allowed.headers.get('ratelimit-limit')).toBe(`${max}`)
    expect(allowed.headers.get('ratelimit-remaining')).toBe('0')
    const reset = Number(allowed.headers.get('ratelimit-reset'))
    expect(reset).toBeGreaterThan(seconds - MINUTE / 2)
    expect(reset).toBeLessThanOrEqual(seconds)

    const refused = await make(from(address, user), call, 1)
    const [error] = refused.errors
    const retryAfter = Number(refused.headers.get('retry-after'))
    expect(error).toMatchObject({
      message: 'Too many requests. Try again later.',
      extensions: { code: 'RATE_LIMITED', limit: max, remaining: 0, retryAfter, resetAt: expect.any(String) },
    })
    expect(refused).toMatchObject({ status: 429, data: null })
    expect(refused.headers.get('ratelimit-limit')).toBe(`${max}`)
    expect(refused.headers.get('ratelimit-remaining')).toBe('0')
    expect(Number(refused.headers.get('ratelimit-reset'))).toBe(retryAfter)
    expect(retryAfter).toBeGreaterThan(seconds - MINUTE / 2)
    expect(retryAfter).toBeLessThanOrEqual(seconds)
    const { resetAt } = (error?.extensions ?? {}) as { resetAt?: string }
    expect(Math.abs(Date.parse(resetAt ?? '') - Date.now() - retryAfter * 1000)).toBeLessThan(MINUTE * 1000)

    const elsewhere = await make(from(newAddress(), user), call, 1)
    expect(elsewhere.errors).toHaveLength(by === 'user' || by === 'session' ? 1 : 0)
    if (by === 'user') expect((await make(from(address, bob), call, 1)).errors).toEqual([])
  })

  test('refresh counts a session over all its rotations, wherever they come from', async () => {
    let { refreshToken } = await bob.logIn()
    const other = await bob.logIn()
    for (let rotation = 1; rotation <= 60; rotation += 1) {
      const result = await from(newAddress()).call(RefreshDocument, { input: { refreshToken } })
      refreshToken = expectType(result, 'RefreshSuccess').authentication.refreshToken ?? ''
    }
    expect(await from(newAddress()).refusal(RefreshDocument, { input: { refreshToken } })).toMatchObject({
      code: 'RATE_LIMITED',
      status: 429,
    })
    const result = await from(newAddress()).call(RefreshDocument, { input: { refreshToken: other.refreshToken } })
    expectType(result, 'RefreshSuccess')
  })

  test('100 calls an hour are allowed signed out, and 1000 signed in, whatever they ask for', async () => {
    const smtp = { SMTP_URL: 'smtp://127.0.0.1:9', PUBLIC_URL: 'http://localhost:4000' }
    const manyAtOnce = { MAX_QUERY_ALIASES: '200', MAX_QUERY_ROOT_FIELDS: '200' }
    const env = { ...ISSUER, ...smtp, ...manyAtOnce, NODE_ENV: 'production', RATE_LIMITS: '' }
    const { accessToken } = await unlimited.newUser()
    const { anonymous } = await startApp({ env, beside: unlimited })
    const address = newAddress()
    const signedOut = anonymous.with({ 'x-forwarded-for': address })
    const me = (count: number) =>
      JSON.stringify({ query: `{ ${Array.from({ length: count }, (_, index) => `c${index}: me { id }`).join(' ')} }` })
    expect((await signedOut.post(me(100))).errors).toEqual([])
    expect((await signedOut.refusal('{ me { id } }')).extensions).toMatchObject({ code: 'RATE_LIMITED', limit: 100 })

    const signedIn = signedOut.with({ authorization: `Bearer ${accessToken}` })
    for (let batch = 0; batch < 5; batch += 1) expect((await signedIn.post(me(200))).errors).toEqual([])
    const elsewhere = signedIn.with({ 'x-forwarded-for': newAddress() })
    expect((await elsewhere.refusal('{ me { id } }')).extensions).toMatchObject({ code: 'RATE_LIMITED', limit: 1000 })
  })
})

describe('a limit', () => {
  test('lets exactly 5 of 20 concurrent logins pass', async () => {
    const client = from(newAddress())
    const answers = await Promise.all(Array.from({ length: 20 }, () => make(client, login('racing@example.com'), 1)))
    const executed = answers.filter(({ errors }) => errors.length === 0)
    expect(executed).toHaveLength(5)
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200, 429]))
  })

  test('lets exactly 5 of the 20 calls in one request be executed', async () => {
    const env = { ...ISSUER, RATE_LIMITS: 'anonymous=5/1h;*=100000/1m' }
    const { anonymous } = await startApp({ env, beside: unlimited })
    const calls = Array.from({ length: 20 }, (_, index) => `c${index}: me { id }`)
    const { errors } = await anonymous
      .with({ 'x-forwarded-for': newAddress() })
      .post(JSON.stringify({ query: `{ ${calls.join(' ')} }` }))
    expect(errors).toHaveLength(15)
    for (const { extensions } of errors) expect(extensions).toMatchObject({ code: 'RATE_LIMITED', limit: 5 })
  })

  test('by address and identifier leaves other identifiers alone', async () => {
    const client = from(newAddress())
    await make(client, login('first@example.com'), 5)
    expect((await make(client, login('first@example.com'), 1)).status).toBe(429)
    expect((await make(client, login('second@example.com'), 1)).errors).toEqual([])
  })

  test.each([
    ['capital letters', 'Grace.Hopper@Example.com', 'grace.hopper@example.com'],
    ["Gmail's dots", 'grace.hopper@gmail.com', 'g.r.a.c.e.hopper@gmail.com'],
    ["Gmail's tags and second domain", 'grace.hopper@gmail.com', 'gracehopper+7@googlemail.com'],
    ['spaces around it', 'grace@example.com', ' grace@example.com '],
  ])('takes an identifier for the same one with %s', async (_, identifier, variant) => {
    const client = from(newAddress())
    expect((await make(client, login(identifier), 5)).errors).toEqual([])
    expect((await make(client, login(variant), 1)).status).toBe(429)
  })

  test('that is used up does not count what it refuses', async () => {
    const client = from(newAddress())
    await make(client, login('patient@example.com'), 5)
    for (let call = 0; call < 30; call += 1)
      expect((await make(client, login('patient@example.com'), 1)).status).toBe(429)
    expect((await make(client, login('another@example.com'), 1)).headers.get('ratelimit-limit')).toBe('5')
  })

  test('refuses before it is looked at who is signed in and whether the input is right', async () => {
    const client = from(newAddress())
    await make(client, 'verifyEmail(input: { token: "x" }) { __typename }', 10)
    const { errors } = await make(client, 'verifyEmail(input: {}) { __typename }', 1)
    expect(errors[0]?.extensions.code).toBe('RATE_LIMITED')
  })

  test('that refuses is recorded once, however many calls it refuses', async () => {
    const address = newAddress()
    const refused = await Promise.all(
      Array.from({ length: 30 }, () => make(from(address), login('flooding@example.com'), 1)),
    )
    expect(refused.filter(({ status }) => status === 429)).toHaveLength(25)
    const auditor = await unlimited.auditor()
    const filter = { types: ['RATE_LIMIT_EXCEEDED'], ipAddress: address }
    const query =
      'query ($filter: AuditLogFilter) { auditLog(scope: EVERYONE, filter: $filter) { edges { node { metadata } } } }'
    const { data } = await auditor.post(JSON.stringify({ query, variables: { filter } }))
    expect(data).toEqual({ auditLog: { edges: [{ node: { metadata: { field: 'login' } } }] } })
  })

  test('that refuses who is signed in is recorded as what concerns the account', async () => {
    const server = await startApp({ env: { RATE_LIMITS: '*=100000/1m;changePassword=0/1h' } })
    const user = await server.newUser()
    const change = 'changePassword(input: { currentPassword: "x", newPassword: "y" }) { __typename }'
    const { code } = await user.refusal(`mutation { ${change} }`)
    expect(code).toBe('RATE_LIMITED')
    expect(await server.eventsOf(user, { types: ['RATE_LIMIT_EXCEEDED'] })).toMatchObject([{ success: false }])
  })

  test('does not stand in the way of a correct password that comes within it', async () => {
    const client = from(newAddress())
    await make(client, login(bob.email), 4)
    const input = { identifier: bob.email, password: bob.password, tokenDelivery: 'BODY' } as const
    expectType(await client.call(LoginDocument, { input }), 'LoginSuccess')
  })
})

import { getIntrospectionQuery } from 'graphql'
import pg from 'pg'
import { describe, expect, test } from 'vitest'
import { EXAMPLE_TABS } from '../../src/http/example-operations.js'
import { startApp, type TestApp } from '../support/app.js'
import type { ApiError } from '../support/client.js'
import { openSocket, openStream } from '../support/streams.js'

const PRODUCTION = {
  NODE_ENV: 'production',
  SMTP_URL: 'smtp://127.0.0.1:9',
  PUBLIC_URL: 'https://auth.example.com',
}
const app = await startApp()
const production = await startApp({ env: PRODUCTION })

const TRANSPORTS = ['the short way', "Yoga's way", 'an event stream', 'a WebSocket'] as const

/** The errors of an operation, as each transport answers it. */
async function errorsOf({ anonymous, url }: TestApp, transport: string, query: string, variables: object = {}) {
  if (transport === 'an event stream') return (await (await openStream(url, {}, query, variables)).next()).errors ?? []
  if (transport === 'a WebSocket') return (await (await openSocket(url)).ask(query, variables)).errors ?? []
  const accept = transport === 'the short way' ? 'application/json' : 'application/json;q=0.9'
  return (await anonymous.post(JSON.stringify({ query, variables }), { accept })).errors
}
const codesOf = (errors: readonly ApiError[]) => errors.map(({ extensions }) => extensions.code)

const many = (count: number, field: (index: number) => string) =>
  Array.from({ length: count }, (_, i) => field(i)).join(' ')
const ofType = (depth: number) => `${'ofType { '.repeat(depth)} name ${'}'.repeat(depth)}`
const nested = (depth: number) => `__type(name: "User") { fields { type { ${ofType(depth - 4)} } } }`
const check = 'checkPassword(input: { password: "x" }) { __typename }'

const LIMITS: [limit: string, within: string, beyond: string][] = [
  ['10 levels', `{ ${nested(10)} }`, `{ ${nested(11)} }`],
  [
    '10 levels, through fragments',
    `{ ...F } fragment F on Query { ...G } fragment G on Query { ${nested(10)} }`,
    `{ ...F } fragment F on Query { ...G } fragment G on Query { ${nested(11)} }`,
  ],
  ['30 aliases', `{ me { ${many(30, (i) => `a${i}: id`)} } }`, `{ me { ${many(31, (i) => `a${i}: id`)} } }`],
  [
    '30 aliases, through fragments',
    `{ me { ...F } } fragment F on User { ${many(30, (i) => `a${i}: id`)} }`,
    `{ me { ...F } } fragment F on User { ...G } fragment G on User { ${many(31, (i) => `a${i}: id`)} }`,
  ],
  ['20 root fields', `{ ${many(20, (i) => `a${i}: me { id }`)} }`, `{ ${many(21, (i) => `a${i}: me { id }`)} }`],
  [
    '20 root fields, through fragments',
    `{ ...F ... { ${many(10, (i) => `b${i}: me { id }`)} } } fragment F on Query { ${many(10, (i) => `a${i}: me { id }`)} }`,
    `{ ...F ... { ${many(11, (i) => `b${i}: me { id }`)} } } fragment F on Query { ${many(10, (i) => `a${i}: me { id }`)} }`,
  ],
  [
    '20 directives',
    `{ me { ${many(20, () => 'id @include(if: true)')} } }`,
    `{ me { ${many(10, () => 'id @include(if: true)')} ${many(11, () => 'email @skip(if: false)')} } }`,
  ],
  [
    '60 repetitions',
    `{ me { ${many(61, () => 'id')} } }`,
    `fragment F on User { ${many(62, () => 'id')} } { me { ...F } }`,
  ],
  ['100 letters in an alias', `{ me { ${'a'.repeat(100)}: id } }`, `{ me { ${'a'.repeat(101)}: id } }`],
  [
    '100 letters in any name',
    `query ${'q'.repeat(100)} { me { ...${'f'.repeat(100)} } } fragment ${'f'.repeat(100)} on User { id }`,
    `{ me { ...${'f'.repeat(101)} } } fragment ${'f'.repeat(101)} on User { id }`,
  ],
  ['1500 comments', `{ me { id } }${'\n#'.repeat(1500)}`, `{ me { id } }${'\n#'.repeat(1501)}`],
  ['60 repetitions in parts', `{ ${many(61, () => 'me { id }')} }`, `{ ${many(62, () => '... { me { id } }')} }`],
  [
    '60 repetitions in all fragments',
    `{ ...F ...G } fragment F on Query { ${many(31, () => 'me { id }')} } fragment G on Query { ${many(31, () => 'me { id }')} }`,
    `{ ...F ...G } fragment F on Query { ${many(31, () => 'me { id }')} } fragment G on Query { ${many(32, () => 'me { id }')} }`,
  ],
  [
    '60 repetitions in all, at whatever depth',
    `{ ${many(7, () => `me { ${many(8, () => 'id')} }`)} }`,
    `{ ${many(8, () => `me { ${many(8, () => 'id')} }`)} }`,
  ],
  [
    'one call of a sensitive mutation',
    `mutation { ${check} verifyToken(input: { token: "x" }) { __typename } b: verifyToken(input: { token: "x" }) { __typename } }`,
    `mutation { ${check} b: ${check} }`,
  ],
  [
    'one call of a sensitive mutation, through fragments',
    `mutation { ...F ...F ... { ${check} } } fragment F on Mutation { ${check} }`,
    `mutation { a: ${check} ... { ...F } } fragment F on Mutation { ${check} }`,
  ],
]

describe.each(TRANSPORTS)('over %s, a document', (transport) => {
  test.each(LIMITS)('may have %s', async (_, within) => {
    expect(await errorsOf(app, transport, within)).toEqual([])
  })

  test.each(LIMITS)('of more than %s is too complex', async (_, _within, beyond) => {
    expect(codesOf(await errorsOf(app, transport, beyond))).toEqual(['QUERY_TOO_COMPLEX'])
  })
})

test.each(TRANSPORTS)('Over %s, a document with very many mistakes is told a few of them', async (transport) => {
  const errors = await errorsOf(app, transport, `{ me { ${many(700, (i) => `wrong${i}`)} } }`)
  expect(errors.length).toBeGreaterThan(1)
  expect(errors.length).toBeLessThan(15)
})

test.each(TRANSPORTS)('Over %s, fragments that spread each other in circles are too complex', async (transport) => {
  for (const root of ['Query', 'Subscription']) {
    const fragments = many(59, (i) => `fragment F${i} on ${root} { x { ...F${(i + 1) % 59} ...F${(i + 2) % 59} } }`)
    const query = `${root.toLowerCase()} { ...F } fragment F on ${root} { ...F } ${fragments}`
    expect(codesOf(await errorsOf(app, transport, query))).toEqual(['QUERY_TOO_COMPLEX'])
  }
})

test('A document that is too complex is answered as one that is not valid', async () => {
  const body = JSON.stringify({ query: `mutation { ${check} b: ${check} }` })
  expect((await app.anonymous.post(body)).status).toBe(200)
  expect((await app.anonymous.post(body, { accept: 'application/graphql-response+json' })).status).toBe(400)
})

test.each([
  ['MAX_QUERY_DEPTH', '1', '{ me { id } }'],
  ['MAX_QUERY_ALIASES', '0', '{ a: csrfToken }'],
  ['MAX_QUERY_ROOT_FIELDS', '1', '{ csrfToken me { id } }'],
  ['MAX_QUERY_DIRECTIVES', '0', '{ csrfToken @skip(if: false) }'],
  [
    'MAX_QUERY_TOKENS',
    '100',
    `{ me { ${many(18, () => 'id')} ${many(18, () => 'email')} ${many(30, () => '... { id }')} } }`,
  ],
])('%s is a setting', async (name, value, query) => {
  const { anonymous } = await startApp({ env: { [name]: value } })
  expect((await anonymous.refusal(query)).code).toBe('QUERY_TOO_COMPLEX')
  expect((await anonymous.post(JSON.stringify({ query: '{ csrfToken }' }))).errors).toEqual([])
})

test('The logins of one request are not executed, not even the first', async () => {
  const login = 'login(input: { identifier: "nobody@example.com", password: "x" }) { __typename }'
  const query = `mutation { ${many(20, (i) => `a${i}: ${login}`)} }`
  const answer = await app.anonymous.post(JSON.stringify({ query }))
  expect({ data: answer.data, codes: codesOf(answer.errors) }).toEqual({ codes: ['QUERY_TOO_COMPLEX'] })
  expect(await app.eventsFrom(answer)).toEqual([])
})

/** Every mutation that tests, takes or changes a credential, with input of the right form. */
const SENSITIVE = {
  register: 'email: "a@b.example", password: "x", termsAccepted: true, privacyPolicyAccepted: true',
  verifyEmail: 'token: "x"',
  resendVerificationEmail: 'email: "a@b.example"',
  login: 'identifier: "a@b.example", password: "x"',
  refresh: 'refreshToken: "x"',
  exchangeToken: 'token: "x"',
  changePassword: 'currentPassword: "x", newPassword: "y"',
  requestPasswordReset: 'email: "a@b.example"',
  resetPassword: 'token: "x", newPassword: "y"',
  checkPassword: 'password: "x"',
}

test.each(Object.entries(SENSITIVE))('An operation may call %s once only', async (field, input) => {
  const call = `${field}(input: { ${input} }) { __typename }`
  const { code, message } = await app.anonymous.refusal(`mutation { ${call} again: ${call} }`)
  expect({ code, message }).toEqual({
    code: 'QUERY_TOO_COMPLEX',
    message: `An operation may call ${field} once only.`,
  })
})

test('The limits let through what GraphiQL asks', async () => {
  const everything = { specifiedByUrl: true, directiveIsRepeatable: true, schemaDescription: true, oneOf: true }
  const introspection = getIntrospectionQuery({ ...everything, inputValueDeprecation: true })
  for (const query of [introspection, ...EXAMPLE_TABS.map((tab) => tab.query)]) {
    expect(codesOf((await app.anonymous.post(JSON.stringify({ query }))).errors)).not.toContain('QUERY_TOO_COMPLEX')
  }
})

describe('a list', () => {
  test('of a page has at most 100 items', async () => {
    const ada = await app.newUser()
    for (const query of ['{ sessions(first: 101) { __typename } }', '{ auditLog(last: 101) { __typename } }']) {
      expect((await ada.refusal(query)).code).toBe('BAD_USER_INPUT')
    }
  })

  test('of a filter has at most 100 items', async () => {
    const ada = await app.newUser()
    const query = 'query ($types: [AuditEventType!]) { auditLog(filter: { types: $types }) { __typename } }'
    expect(await ada.refusal(query, { types: Array(101).fill('LOGIN_FAILED') })).toMatchObject({
      code: 'BAD_USER_INPUT',
      extensions: { issues: [{ path: ['filter', 'types'] }] },
    })
    expect((await ada.post(JSON.stringify({ query, variables: { types: ['LOGIN_FAILED'] } }))).errors).toEqual([])
  })
})

const LOGIN = 'mutation ($input: LoginInput!) { login(input: $input) { __typename } }'
const MISSPELLED: [what: string, query: string, variables?: object][] = [
  ['a field', '{ mee { id } }'],
  ['an argument', '{ sessions(frist: 1) { __typename } }'],
  ['a type', 'mutation ($input: LogInput!) { login(input: $input) { __typename } }'],
  ['a field of a member', '{ sessions { nodes { id } } }'],
  ['a value', '{ auditLog(scope: EVERYBODY) { __typename } }'],
  ['a field of a literal', 'mutation { login(input: { identifer: "x", password: "x" }) { __typename } }'],
  ['a field of a variable', LOGIN, { input: { identifer: 'x', identifier: 'x', password: 'x' } }],
  ['a value of a variable', LOGIN, { input: { identifier: 'x', password: 'x', tokenDelivery: 'BODIES' } }],
  ['an argument of a subscription', 'subscription { securityAlerts(minRiskLevl: LOW) { cursor } }'],
  [
    'a variable of a subscription',
    'subscription ($filter: AuditLogFilter) { securityEvents(filter: $filter) { cursor } }',
    { filter: { minRiskLevl: 'LOW' } },
  ],
]

describe('the misspelling of', () => {
  test.each(MISSPELLED)('%s brings no suggestion in production', async (_, query, variables) => {
    for (const transport of TRANSPORTS) {
      const told = JSON.stringify(await errorsOf(production, transport, query, variables))
      expect(told).toContain('BAD_USER_INPUT')
      expect(told).not.toMatch(/did you mean/i)
    }
    expect(JSON.stringify(await errorsOf(app, 'the short way', query, variables))).toMatch(/did you mean/i)
  })
})

test('What fails unexpectedly tells nothing but a correlation id, on every transport', async () => {
  const database = new pg.Client(production.installation.databaseUrl)
  await database.connect()
  await database.query('ALTER TABLE login_throttles RENAME TO gone')
  try {
    for (const transport of TRANSPORTS) {
      const errors = await errorsOf(production, transport, LOGIN, {
        input: { identifier: 'a@b.example', password: 'x', tokenDelivery: 'BODY' },
      })
      expect(errors).toEqual([
        {
          message: 'Something went wrong.',
          locations: expect.anything(),
          path: ['login'],
          extensions: { code: 'INTERNAL_SERVER_ERROR', correlationId: expect.any(String) },
        },
      ])
    }
    expect(production.log.problems).toHaveLength(TRANSPORTS.length)
  } finally {
    production.log.problems.length = 0
    await database.query('ALTER TABLE gone RENAME TO login_throttles')
    await database.end()
  }
})

// Texts that cost more to look at than to send: what is done before any limit decides must not grow with their square.
import { expect, test } from 'vitest'
import { startApp } from '../support/app.js'
import { expectType } from '../support/client.js'
import { LoginDocument } from '../support/generated/graphql.js'
import { makePlaces } from '../support/geoip.js'
import { openSocket } from '../support/streams.js'

const app = await startApp()
const LOGIN = 'mutation ($input: LoginInput!) { login(input: $input) { __typename } }'
const RESET = 'mutation ($input: RequestPasswordResetInput!) { requestPasswordReset(input: $input) { __typename } }'
const TEXTS: readonly (readonly [what: string, text: string])[] = [
  ['plus signs before a line break', `${'+'.repeat(90_000)}\n@gmail.com`],
  ['combining marks out of their order', `a${'\u0315'.repeat(20_000)}${'\u0316'.repeat(20_000)}`],
  ['spaces', `${' '.repeat(90_000)}x`],
]

// Each took many seconds of the process.
test.each(TEXTS)('%s are refused without being looked at for long', { timeout: 10_000 }, async (_, text) => {
  for (const input of [{ identifier: text, password: 'x' }, { email: text }]) {
    const query = 'email' in input ? RESET : LOGIN
    const { errors } = await app.anonymous.post(JSON.stringify({ query, variables: { input } }))
    expect(errors.map(({ extensions }) => extensions.code)).toEqual(['BAD_USER_INPUT'])
  }
})

test('A field of a variable that does not exist is told without the values beside it', async () => {
  const input = { identifier: 'ada@example.com', password: 'amber-kettle-91', zzz: true }
  const { errors } = await app.anonymous.post(JSON.stringify({ query: LOGIN, variables: { input } }))
  expect(errors).toMatchObject([
    {
      message: 'Variable "$input" got invalid value; Field "zzz" is not defined by type "LoginInput".',
      extensions: { code: 'BAD_USER_INPUT', issues: [{ path: ['input', 'zzz'] }] },
    },
  ])
  expect(JSON.stringify(errors)).not.toContain('amber-kettle')
})

test.each([
  ['of a wrong type', { identifier: 'ada@example.com', password: ['amber-kettle-91'] }],
  ['as a number', { identifier: 'ada@example.com', password: 4915829301 }],
])('A password that is sent %s is not repeated', async (_, input) => {
  const { errors } = await app.anonymous.post(JSON.stringify({ query: LOGIN, variables: { input } }))
  expect(errors).toMatchObject([{ extensions: { code: 'BAD_USER_INPUT', issues: [{ path: ['input', 'password'] }] } }])
  expect(JSON.stringify(errors)).not.toMatch(/amber-kettle|4915829301/)
})

const TOO_MANY = 'The variables have more than 500 fields.'
const WRONG = Object.fromEntries(Array.from({ length: 9000 }, (_, index) => [`k${index}`, 1]))

test.each([
  ['query', 'query ($f: AuditLogFilter) { auditLog(filter: $f) { edges { cursor } } }'],
  ['subscription', 'subscription ($f: AuditLogFilter) { securityEvents(filter: $f) { cursor } }'],
])('A %s whose variables are wrong in thousands of ways gets a short answer', async (_, query) => {
  const auditor = await app.auditor()
  const body = JSON.stringify({ query, variables: { f: WRONG } })
  const { errors } = await app.anonymous
    .with({ authorization: `Bearer ${auditor.accessToken}`, accept: 'application/json, text/event-stream' })
    .post(body)
  expect(errors.every(({ extensions }) => extensions.code === 'BAD_USER_INPUT')).toBe(true)
  expect(JSON.stringify(errors).length).toBeLessThan(10_000)
  expect(errors).toMatchObject([{ message: TOO_MANY }])
})

const fieldsOf = (count: number) => Object.fromEntries(Object.entries(WRONG).slice(0, count))

// To put each of the errors into words takes the process a while in one go, and counts for no limit.
test.each([
  ['an object', { f: fieldsOf(501) }, true],
  ['two objects', { f: fieldsOf(250), g: fieldsOf(249) }, true],
  ['objects in a list', { f: { types: [fieldsOf(250), fieldsOf(250)] } }, true],
  ['an object with fewer', { f: fieldsOf(499) }, false],
  ['a variable that nothing declares', { h: fieldsOf(501) }, false],
])('Of more than 500 fields in variables only that is told: %s', async (_, variables, isTooMany) => {
  const declared = '($f: AuditLogFilter, $g: AuditLogFilter)'
  const query = `query ${declared} { a: auditLog(filter: $f) { __typename } b: auditLog(filter: $g) { __typename } }`
  const socket = await openSocket(app.url)
  const told = [
    (await app.anonymous.post(JSON.stringify({ query, variables }))).errors,
    (await app.anonymous.with({ accept: 'application/json;q=0.9' }).post(JSON.stringify({ query, variables }))).errors,
    await socket.follow(query, variables).next(),
  ]
  for (const answer of told) expect(JSON.stringify(answer).includes(TOO_MANY)).toBe(isTooMany)
})

test('A name of many thousand letters is not repeated', async () => {
  const { errors } = await app.anonymous.post(JSON.stringify({ query: `{ ${'x'.repeat(90_000)} }` }))
  expect(JSON.stringify(errors)).toContain('QUERY_TOO_COMPLEX')
  expect(JSON.stringify(errors).length).toBeLessThan(2000)
})

test('A username that stands for hundreds of letters is refused, and one that folds to the same length is not', async () => {
  const register = (username: string) =>
    app.anonymous.post(
      JSON.stringify({
        query: 'mutation ($input: RegisterInput!) { register(input: $input) { __typename } }',
        variables: { input: { ...app.newAccount(), username } },
      }),
    )
  expect((await register('\ufdfa'.repeat(32))).errors).toMatchObject([
    { extensions: { code: 'BAD_USER_INPUT', issues: [{ path: ['input', 'username'] }] } },
  ])
  expect((await register('\uff21da-lovelace')).errors).toEqual([])
})

test.each([
  ['a variation selector', 'victor\ufe0f'],
  ['a grapheme joiner', 'vic\u034ftor'],
  ['a Khmer vowel without a shape', 'victor\u17b4'],
  ['a Hangul filler', 'victor\u3164'],
  ['a half-width Hangul filler', 'victor\uffa0'],
  ['nothing but Hangul fillers', '\u3164\u3164\u3164'],
])('A username with %s is refused: nobody could see how it differs from another', async (_, username) => {
  const { errors } = await app.anonymous.post(
    JSON.stringify({
      query: 'mutation ($input: RegisterInput!) { register(input: $input) { __typename } }',
      variables: { input: { ...app.newAccount(), username } },
    }),
  )
  expect(errors).toMatchObject([{ extensions: { code: 'BAD_USER_INPUT', issues: [{ path: ['input', 'username'] }] } }])
})

test('A password with half of a character is refused: it would be as good as another', async () => {
  const ada = await app.newUser()
  const change = { query: 'mutation ($i: ChangePasswordInput!) { changePassword(input: $i) { __typename } }' }
  const i = { currentPassword: ada.password, newPassword: 'kfj3 29vmw qpz 81\ud800' }
  const { errors } = await ada.post(JSON.stringify({ ...change, variables: { i } }))
  expect(errors).toMatchObject([
    { extensions: { code: 'BAD_USER_INPUT', issues: [{ path: ['input', 'newPassword'] }] } },
  ])
  const input = { identifier: ada.email, password: ada.password, tokenDelivery: 'BODY' } as const
  expectType(await app.anonymous.call(LoginDocument, { input }), 'LoginSuccess')
})

test.each(['audit-erase-mine', 'AUDIT-ERASE-mine', 'cli-12345678', 'job-12345678'])(
  'The request id %s, which only the server itself uses, is replaced',
  async (id) => {
    const { headers } = await app.anonymous.post('{"query":"{ __typename }"}', { 'x-request-id': id })
    expect(headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/)
  },
)

const NO_PLACES: Readonly<Record<string, object>> = {
  '203.0.1': { city: { names: { en: 'Vie\u0000nna' } }, country: { iso_code: 'A\u0000' } },
  '203.0.2': { city: { names: { en: 'V'.repeat(101) } }, country: { iso_code: 'AUSTRIA' } },
  '203.0.3': { city: { names: { en: { de: 'Wien' } } }, country: { iso_code: { en: 'Austria' } } },
  '203.0.4': {
    city: { names: { en: 7 } },
    country: { iso_code: 43 },
    location: { latitude: 'north', longitude: 'west' },
  },
  '203.0.5': { city: 'Vienna', country: 'AT', location: 'here' },
}
const noPlaces = makePlaces(NO_PLACES)

test('Who comes from where a database of places says what is no place signs in all the same, and comes from nowhere', async () => {
  const server = await startApp({ env: { GEOIP_DATABASE: noPlaces } })
  const ada = await server.newUser()
  for (const network of Object.keys(NO_PLACES)) {
    const input = { identifier: ada.email, password: ada.password, tokenDelivery: 'BODY' } as const
    const there = server.anonymous.with({ 'x-forwarded-for': `${network}.7` })
    const { authentication } = expectType(await there.call(LoginDocument, { input }), 'LoginSuccess')
    expect(authentication.session).toMatchObject({ ipAddress: `${network}.7`, city: null, country: null })
  }
})

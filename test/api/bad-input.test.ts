import { describe, expect, test } from 'vitest'
import { NEXT_PASSWORD, PASSWORD, startApp } from '../support/app.js'
import {
  AuditLogDocument,
  ChangePasswordDocument,
  CheckPasswordDocument,
  ExchangeTokenDocument,
  LoginDocument,
  RefreshDocument,
  RegisterDocument,
  RequestPasswordResetDocument,
  ResendVerificationEmailDocument,
  ResetPasswordDocument,
  SessionsDocument,
  TerminateSessionDocument,
  VerifyEmailDocument,
  VerifyTokenDocument,
} from '../support/generated/graphql.js'
import { openSocket } from '../support/streams.js'

const app = await startApp()
const { anonymous } = app
const ada = await app.newUser()
const eve = anonymous.with({ authorization: `Bearer ${ada.accessToken}` })
const before = await ada.state()
const eventsBefore = (await app.allEvents()).length

type Case = [what: string, document: typeof RegisterDocument, variables: object, paths: string[]]
const input = (document: unknown, given: object, ...paths: string[]): [typeof RegisterDocument, object, string[]] => [
  document as typeof RegisterDocument,
  { input: given },
  paths.map((path) => `input.${path}`),
]
const registration = (given: object) => ({ ...app.newAccount(), ...given })
const TOKEN = 'A'.repeat(43)
const LONG = 'x'.repeat(8193)
const CODE = { email: 'ada@example.com', code: '123456' }

const MALFORMED_ADDRESSES: Case[] = [
  ['', 'plain', 'a@b', '@example.com', 'ada@', 'ada@example', 'ada lovelace@example.com', 'ada@exam ple.com'],
  [
    'Ada <ada@example.com>',
    'ada@example.com,eve@example.com',
    'ada@@example.com',
    'ada@example..com',
    'ada@example.xn--',
  ],
  ['ada@bücher.example#x', 'ada@bücher.example/x', 'ada@b%2ecücher.example', 'ада@example.com', 'ada@bücher'],
  [`ada@${'é'.repeat(240)}.example`, `ada@${'é.'.repeat(60)}example`],
  [
    `${'x'.repeat(65)}@example.com`,
    `${'x'.repeat(250)}@example.com`,
    'ada@example.com\r\nBcc: eve@example.com',
    'ada\u0000@example.com',
    ' ',
  ],
]
  .flat()
  .map((email) => [
    `the address ${JSON.stringify(email)}`,
    ...input(RegisterDocument, registration({ email }), 'email'),
  ])

/** Nobody sees anything of them. */
const BLANK: Case[] = [' \u00a0\u3000', '\u200b\u200b', '\u00ad\u2060\u3164', '\u2800', '\u{e0020}'].flatMap((text) => [
  [
    `names of ${JSON.stringify(text)}`,
    ...input(
      RegisterDocument,
      registration({ firstName: text, lastName: text, displayName: text }),
      ...['firstName', 'lastName', 'displayName'],
    ),
  ],
  [
    `a device name of ${JSON.stringify(text)}`,
    ...input(LoginDocument, { identifier: ada.email, password: PASSWORD, deviceName: text }, 'deviceName'),
  ],
])

const CASES: Case[] = [
  ...BLANK,
  ...MALFORMED_ADDRESSES,
  ['an empty password', ...input(RegisterDocument, registration({ password: '' }), 'password')],
  ['a password of over 1024 characters', ...input(RegisterDocument, registration({ password: LONG }), 'password')],
  ['terms that are not accepted', ...input(RegisterDocument, registration({ termsAccepted: false }), 'termsAccepted')],
  [
    'a privacy policy that is not accepted',
    ...input(RegisterDocument, registration({ privacyPolicyAccepted: false }), 'privacyPolicyAccepted'),
  ],
  ['a username with a space', ...input(RegisterDocument, registration({ username: 'ada l' }), 'username')],
  ['a username that is too long', ...input(RegisterDocument, registration({ username: 'x'.repeat(33) }), 'username')],
  ['a name with a line break', ...input(RegisterDocument, registration({ firstName: 'A\nB' }), 'firstName')],
  ['a name with an escape', ...input(RegisterDocument, registration({ lastName: 'A\u001b[31mB' }), 'lastName')],
  ['a name with half a character', ...input(RegisterDocument, registration({ displayName: 'A\ud800' }), 'displayName')],
  ['a name of over 100 characters', ...input(RegisterDocument, registration({ firstName: LONG }), 'firstName')],
  ['a locale that is none', ...input(RegisterDocument, registration({ locale: 'en_US!' }), 'locale')],
  ['a time zone that is none', ...input(RegisterDocument, registration({ timezone: 'Mars/Olympus' }), 'timezone')],
  [
    'everything wrong at once',
    ...input(
      RegisterDocument,
      registration({ email: 'x', password: '', username: '!', firstName: '', locale: '?', termsAccepted: false }),
      ...['email', 'password', 'username', 'firstName', 'locale', 'termsAccepted'],
    ),
  ],
  ['an empty identifier', ...input(LoginDocument, { identifier: '', password: PASSWORD }, 'identifier')],
  ['an endless identifier', ...input(LoginDocument, { identifier: LONG, password: PASSWORD }, 'identifier')],
  ['a NUL in the identifier', ...input(LoginDocument, { identifier: 'a\u0000', password: PASSWORD }, 'identifier')],
  ['an empty password to log in', ...input(LoginDocument, { identifier: ada.email, password: '' }, 'password')],
  [
    'a device name with a line break',
    ...input(LoginDocument, { identifier: ada.email, password: PASSWORD, deviceName: 'A\nB' }, 'deviceName'),
  ],
  [
    'a device name of over 100 characters',
    ...input(LoginDocument, { identifier: ada.email, password: PASSWORD, deviceName: LONG }, 'deviceName'),
  ],
  ['an endless refresh token', ...input(RefreshDocument, { refreshToken: LONG }, 'refreshToken')],
  ['an empty exchange token', ...input(ExchangeTokenDocument, { token: '' }, 'token')],
  ['an endless access token', ...input(VerifyTokenDocument, { token: LONG }, 'token')],
  ['an address to resend to', ...input(ResendVerificationEmailDocument, { email: 'x' }, 'email')],
  ['an address to reset', ...input(RequestPasswordResetDocument, { email: 'x' }, 'email')],
  ['a code of five digits', ...input(VerifyEmailDocument, { ...CODE, code: '12345' }, 'code')],
  ['a code of letters', ...input(VerifyEmailDocument, { ...CODE, code: 'abcdef' }, 'code')],
  ['a code of other digits', ...input(VerifyEmailDocument, { ...CODE, code: '١٢٣٤٥٦' }, 'code')],
  ['an empty new password', ...input(ResetPasswordDocument, { token: TOKEN, newPassword: '' }, 'newPassword')],
  ['an empty candidate', ...input(CheckPasswordDocument, { password: '' }, 'password')],
  [
    'two passwords that are wrong in shape',
    ...input(ChangePasswordDocument, { currentPassword: '', newPassword: LONG }, 'currentPassword', 'newPassword'),
  ],
  ['a session id that is no UUID', ...input(TerminateSessionDocument, { sessionId: '1' }, 'sessionId')],
  [
    'a session id with something behind it',
    ...input(TerminateSessionDocument, { sessionId: `${ada.sessionId}'--` }, 'sessionId'),
  ],
]

const PROOFS: [string, object][] = [
  ['neither a token nor a code', {}],
  ['both a token and a code', { token: TOKEN, ...CODE }],
  ['a token and an address', { token: TOKEN, email: CODE.email }],
  ['a code without its address', { code: CODE.code }],
  ['an address without its code', { email: CODE.email }],
  ['nulls', { token: null, email: null, code: null }],
]

const pathsOf = (issues: { path: string[] }[] = []) => [...new Set(issues.map(({ path }) => path.join('.')))].sort()

describe('malformed input is refused with the path of every field that is wrong', () => {
  test.each(CASES)('%s', async (_, document, variables, paths) => {
    const refusal = await eve.refusal(document, variables)
    expect(refusal.code).toBe('BAD_USER_INPUT')
    expect(pathsOf(refusal.extensions.issues)).toEqual([...paths].sort())
    for (const { code, message } of refusal.extensions.issues ?? []) expect([code, message]).not.toContain('')
  })

  test('cookies over a WebSocket', async () => {
    const socket = await openSocket(app.url)
    const login = `mutation { login(input: { identifier: "${ada.email}", password: "x" }) { __typename } }`
    for (const [query, path] of [
      [login, 'input.tokenDelivery'],
      ['{ csrfToken }', ''],
    ] as const) {
      const [refusal] = (await socket.ask(query)).errors ?? []
      expect(refusal?.extensions).toMatchObject({ code: 'BAD_USER_INPUT', issues: [expect.anything()] })
      expect(pathsOf(refusal?.extensions.issues)).toEqual([path])
    }
  })

  test.each(PROOFS)('a proof of %s', async (_, proof) => {
    for (const [document, more] of [
      [VerifyEmailDocument, {}],
      [ResetPasswordDocument, { newPassword: NEXT_PASSWORD }],
    ] as const) {
      const refusal = await anonymous.refusal(document, { input: { ...proof, ...more } })
      expect(refusal.code).toBe('BAD_USER_INPUT')
      expect(pathsOf(refusal.extensions.issues)).toEqual(['input'])
    }
  })

  test.each([
    ['userId', 'no-uuid'],
    ['sessionId', '{}'],
    ['ipAddress', '300.1.1.1'],
    ['from', 'yesterday'],
    ['to', 1_700_000_000],
    ['types', ['NO_SUCH_TYPE']],
    ['minRiskLevel', 'EXTREME'],
    ['success', 'yes'],
  ])('a filter of the audit log by %s: %j', async (name, value) => {
    const refusal = await ada.refusal(AuditLogDocument, { filter: { [name]: value } })
    expect(refusal.code).toBe('BAD_USER_INPUT')
    expect(pathsOf(refusal.extensions.issues)[0]).toMatch(new RegExp(`^filter\\.${name}`))
  })

  test.each([
    ['first', 0],
    ['first', -1],
    ['first', 1000],
    ['first', 1.5],
    ['first', '2'],
    ['last', 0],
    ['last', 101],
    ['last', 2 ** 31],
  ])('a page of %s: %j', async (name, value) => {
    for (const document of [SessionsDocument, AuditLogDocument]) {
      const refusal = await ada.refusal(document, { [name]: value })
      expect(refusal.code).toBe('BAD_USER_INPUT')
      expect(pathsOf(refusal.extensions.issues)).toEqual([name])
    }
  })
})

describe('the message says what is wrong', () => {
  test.each([
    ['', 'Must not be empty.'],
    ['\u200b', 'Must not be empty.'],
    ['A\ud800', 'Must be well-formed Unicode.'],
    ['A\n', 'Must not contain control characters.'],
  ])('with the name %j', async (displayName, message) => {
    const { extensions } = await eve.refusal(RegisterDocument, { input: registration({ displayName }) })
    expect(extensions.issues).toMatchObject([{ path: ['input', 'displayName'], message }])
  })

  test('with half a character in an address', async () => {
    const { extensions } = await eve.refusal(RegisterDocument, {
      input: registration({ email: 'ada\ud800@example.com' }),
    })
    expect(extensions.issues).toMatchObject([{ path: ['input', 'email'], message: 'Must be well-formed Unicode.' }])
  })
})

test('nothing of all this has changed anything', async () => {
  expect(await ada.state()).toEqual(before)
  expect(await app.allEvents()).toHaveLength(eventsBefore)
  expect(await app.mailsTo('ada@example.com')).toEqual([])
  await ada.logIn()
})

test('what is seen only in part is a name, and 64 characters are a local part', async () => {
  const email = `${'x'.repeat(64)}@example.org`
  const { status, data } = await anonymous.execute(RegisterDocument, {
    input: registration({ email, displayName: '\u200bZoë \u{1f469}\u200d\u{1f680}' }),
  })
  expect([status, data.register.__typename]).toEqual([200, 'RegisterSuccess'])
})

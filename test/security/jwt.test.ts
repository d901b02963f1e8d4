import { decodeJwt } from 'jose'
import ms from 'ms'
import { describe, expect, test } from 'vitest'
import { NEXT_PASSWORD, startApp } from '../support/app.js'
import { expectType } from '../support/client.js'
import type { TestClock } from '../support/clock.js'
import { startForgery } from '../support/forgery.js'
import {
  ExchangeTokenDocument,
  LogoutDocument,
  MeDocument,
  RefreshDocument,
  RequestPasswordResetDocument,
  ResetPasswordDocument,
  SessionsDocument,
  VerifyEmailDocument,
  VerifyTokenDocument,
} from '../support/generated/graphql.js'
import { proofOf, SUBJECTS } from '../support/mailbox.js'
import { compact, freshClaims, stealKey } from '../support/signing.js'
import { openSocket } from '../support/streams.js'

const { app, ada, bob, key, seconds, bearer, forge, expectRefused, expectAccepted } = await startForgery()
const { anonymous } = app
const parts = () => forge().split('.') as [string, string, string]

describe('a token that the server could have made', () => {
  test.each<[string, () => string]>([
    ['as it is', () => forge()],
    ['of a clock that is three seconds ahead', () => forge({}, { iat: seconds() + 3, nbf: seconds() + 3 })],
    ['that has expired two seconds ago', () => forge({}, { exp: seconds() - 2 })],
  ])('is accepted %s', (_, make) => expectAccepted(make()))
})

describe('a token that is meant otherwise', () => {
  const now = seconds()
  const { iss, aud } = decodeJwt(ada.accessToken)
  test.each<[string, object, object]>([
    ['typ of any JWT', { typ: 'JWT' }, {}],
    ['typ of another token', { typ: 'logout+jwt' }, {}],
    ['no typ', { typ: undefined }, {}],
    ['typ that is a list', { typ: ['at+jwt'] }, {}],
    ['another iss', {}, { iss: 'https://evil.example' }],
    ['iss with more behind it', {}, { iss: `${iss}/` }],
    ['iss that is a list', {}, { iss: [iss] }],
    ['no iss', {}, { iss: undefined }],
    ['another aud', {}, { aud: 'https://evil.example' }],
    ['several aud, none of them ours', {}, { aud: ['https://evil.example', 'https://other.example'] }],
    ['aud with more behind it', {}, { aud: `${aud}/` }],
    ['empty aud', {}, { aud: [] }],
    ['no aud', {}, { aud: undefined }],
    ['future nbf', {}, { nbf: now + 60 }],
    ['future iat', {}, { iat: now + 60 }],
    ['past exp', {}, { exp: now - 6 }],
    ...['exp', 'nbf', 'iat'].flatMap((claim): [string, object, object][] => [
      [`no ${claim}`, {}, { [claim]: undefined }],
      [`${claim} that is a text`, {}, { [claim]: `${now}` }],
      [`${claim} that is null`, {}, { [claim]: null }],
    ]),
    ...['sub', 'sid', 'jti', 'auth_time'].map((claim): [string, object, object] => [
      `no ${claim}`,
      {},
      { [claim]: undefined },
    ]),
    ['a session that never was', {}, { sid: '0190c5e8-0000-7000-8000-000000000001' }],
    ['a session of somebody else', {}, { sid: bob.sessionId }],
    ['somebody else with this session', {}, { sub: bob.id }],
    ['a session that is a number', {}, { sid: 1 }],
  ])('is refused: %s', (_, header, claims) => expectRefused(forge(header, claims)))

  test('is refused ten seconds before nbf, and before iat', async () => {
    await expectRefused(forge({}, { nbf: seconds() + 10 }))
    await expectRefused(forge({}, { iat: seconds() + 10 }))
  })

  test.each<[string, () => string]>([
    ['without signature', () => parts().slice(0, 2).join('.')],
    ['with an empty signature', () => `${parts().slice(0, 2).join('.')}.`],
    ['with the signature of another one', () => [...parts().slice(0, 2), bob.accessToken.split('.')[2]].join('.')],
    ['with a signature that is cut short', () => forge().slice(0, -4)],
    ['with two signatures', () => `${forge()}.${parts()[2]}`],
    ['with the claims of another one', () => [parts()[0], bob.accessToken.split('.')[1], parts()[2]].join('.')],
    ['as JSON', () => JSON.stringify({ protected: parts()[0], payload: parts()[1], signature: parts()[2] })],
    ['in five parts', () => `${parts()[0]}..AAAA.${parts()[1]}.${parts()[2]}`],
    ['with claims that are no object', () => compact({ alg: key.alg, typ: 'at+jwt', kid: key.kid }, ['sub'], key.sign)],
  ])('is refused: %s', (_, make) => expectRefused(make()))
})

describe('a token that is written otherwise, and would be read as the same', () => {
  const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  /** The last sign of a signature has four bits to spare. */
  const withOtherRest = (token: string) => token.slice(0, -1) + ALPHABET[ALPHABET.indexOf(token.slice(-1)) ^ 1]

  test.each<[string, (token: string) => string]>([
    ['with padding', (token) => `${token}==`],
    ['with other bits where they count for nothing', withOtherRest],
    ['with a sign that base64url does not have', (token) => `${token}?`],
    ['with a space at its end', (token) => `${token} `],
    ['with a space before a dot', (token) => token.replace('.', ' .')],
    ['with a line end within', (token) => token.replace('.', '.\n')],
    ['with a zero byte at its end', (token) => `${token}\0`],
  ])('is refused: %s', async (_, write) => {
    const token = forge()
    await expectAccepted(token)
    expectType(await anonymous.call(VerifyTokenDocument, { input: { token: write(token) } }), 'InvalidTokenError')
  })
})

/** The five seconds by which clocks may differ, to the second: time stands still but for what a test lets pass. */
describe('a clock that differs', async () => {
  const env = { JWT_ISSUER: 'https://auth.example', JWT_AUDIENCE: 'https://auth.example' }
  const real = await startApp({ env })
  const grace = await real.newUser()
  let nowMs = Math.ceil(Date.now() / 1000) * 1000
  const clock: TestClock = {
    now: () => new Date(nowMs),
    advance: (duration) => {
      nowMs += ms(duration)
    },
  }
  const still = await startApp({ env, beside: { installation: { ...real.installation, clock } } })
  const { kid, alg, sign } = await stealKey(still)
  const make = (claims: object) =>
    compact({ alg, kid, typ: 'at+jwt' }, { ...freshClaims(grace.accessToken, clock.now()), ...claims }, sign)
  async function isAccepted(token: string): Promise<boolean> {
    const { __typename } = await still.anonymous.call(VerifyTokenDocument, { input: { token } })
    const me = await still.anonymous.with({ authorization: `Bearer ${token}` }).call(MeDocument)
    expect(__typename === 'VerifyTokenSuccess').toBe(me !== null)
    return me?.id === grace.id
  }
  const at = () => clock.now().getTime() / 1000

  test('leaves a token five seconds after exp, and not six', async () => {
    const token = make({ exp: at() + 60 })
    expect(await isAccepted(token)).toBe(true)
    clock.advance('65s')
    expect(await isAccepted(token)).toBe(true)
    clock.advance('1s')
    expect(await isAccepted(token)).toBe(false)
  })

  test.each(['nbf', 'iat'])('lets a token in five seconds before %s, and not six', async (claim) => {
    const token = make({ [claim]: at() + 6, exp: at() + 900 })
    expect(await isAccepted(token)).toBe(false)
    clock.advance('1s')
    expect(await isAccepted(token)).toBe(true)
  })

  test('leaves a token that names no password five seconds before it, and not six', async () => {
    const me = await grace.call(MeDocument)
    const changedAt = Math.ceil(Date.parse(me?.passwordChangedAt ?? '') / 1000)
    expect(await isAccepted(make({ pwd: undefined, iat: changedAt - 5 }))).toBe(true)
    expect(await isAccepted(make({ pwd: undefined, iat: changedAt - 6 }))).toBe(false)
  })
})

describe('a token of another kind', () => {
  test('gives no access: refresh token, tokens of mails, exchange token', async () => {
    const account = await app.register()
    const verification = proofOf(await app.mail(account.email, SUBJECTS.verification)).token
    await expectRefused(verification)
    const verified = await anonymous.call(VerifyEmailDocument, { input: { token: verification } })
    await expectRefused(expectType(verified, 'VerifyEmailSuccess').exchangeToken)
    await anonymous.call(RequestPasswordResetDocument, { input: { email: ada.email } })
    await expectRefused(proofOf(await app.mail(ada.email, SUBJECTS.reset)).token)
    await expectRefused(bob.refreshToken)
  })

  test('is not what an access token can stand for', async () => {
    const { accessToken: token } = ada
    const refreshed = await anonymous.call(RefreshDocument, { input: { refreshToken: token } })
    expectType(refreshed, 'InvalidRefreshTokenError')
    expectType(await anonymous.call(VerifyEmailDocument, { input: { token } }), 'InvalidTokenError')
    expectType(await anonymous.call(ExchangeTokenDocument, { input: { token } }), 'InvalidTokenError')
    const reset = await anonymous.call(ResetPasswordDocument, { input: { token, newPassword: NEXT_PASSWORD } })
    expectType(reset, 'InvalidTokenError')
    await expectAccepted(token)
  })
})

test('A token of an ended session is refused, though it was accepted a moment ago', async () => {
  const other = await ada.logIn()
  await expectAccepted(other.accessToken)
  await other.call(LogoutDocument)
  await expectRefused(other.accessToken)
})

test('A token of more than 8 KB is refused; one of just less is not', async () => {
  const padded = (length: number) => forge({}, { pad: 'x'.repeat(length) })
  const small = padded(5400)
  const large = padded(5900)
  expect([small.length < 8192, large.length > 8192]).toEqual([true, true])
  await expectAccepted(small)
  expect(await bearer(large).call(MeDocument)).toBeNull()
  expect((await bearer(large).refusal(SessionsDocument)).code).toBe('UNAUTHENTICATED')
  expect((await anonymous.refusal(VerifyTokenDocument, { input: { token: large } })).code).toBe('BAD_USER_INPUT')
})

test('A WebSocket is opened by a good token only', async () => {
  const open = await openSocket(app.url, { token: forge() })
  expect(await open.ask('{ me { id } }')).toEqual({ data: { me: { id: ada.id } } })
  for (const token of [forge({ jwk: key.publicJwk }), forge({ typ: 'JWT' }), forge({ alg: 'none' })]) {
    const refused = await openSocket(app.url, { token })
    expect(await refused.closing).toMatchObject({ code: 4403 })
  }
})

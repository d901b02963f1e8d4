import { createPublicKey, generateKeyPairSync } from 'node:crypto'
import { decodeJwt } from 'jose'
import { describe, expect, test } from 'vitest'
import { NEXT_PASSWORD, startApp } from '../support/app.js'
import { expectType } from '../support/client.js'
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
import { compact, freshClaims, hmacSigner, keySigner, type Signer, stealKey } from '../support/signing.js'
import { openSocket } from '../support/streams.js'

const app = await startApp()
const { anonymous } = app
const ada = await app.newUser()
const bob = await app.newUser()
const key = await stealKey(app)
const stranger = generateKeyPairSync('ed25519')

const bearer = (token: string) => anonymous.with({ authorization: `Bearer ${token}` })
const verify = (token: string) => anonymous.call(VerifyTokenDocument, { input: { token } })
const seconds = () => Math.floor(app.clock.now().getTime() / 1000)

/** Good but for what is given: signed with the server's own key, for a session that lives. */
function forge(header: object = {}, claims: object = {}, signer: Signer = key.sign): string {
  const own = { alg: key.alg, typ: 'at+jwt', kid: key.kid }
  return compact({ ...own, ...header }, { ...freshClaims(ada.accessToken, app.clock.now()), ...claims }, signer)
}
const parts = () => forge().split('.') as [string, string, string]

async function expectRefused(token: string): Promise<void> {
  expect(await verify(token)).toMatchObject({ __typename: 'InvalidTokenError', code: 'INVALID_TOKEN' })
  expect(await bearer(token).call(MeDocument)).toBeNull()
  expect((await bearer(token).refusal(SessionsDocument)).code).toBe('UNAUTHENTICATED')
}
async function expectAccepted(token: string): Promise<void> {
  expectType(await verify(token), 'VerifyTokenSuccess')
  expect((await bearer(token).call(MeDocument))?.id).toBe(ada.id)
}

describe('a token that the server could have made', () => {
  test.each<[string, () => string]>([
    ['as it is', () => forge()],
    ['of a clock that is three seconds ahead', () => forge({}, { iat: seconds() + 3, nbf: seconds() + 3 })],
    ['that has expired two seconds ago', () => forge({}, { exp: seconds() - 2 })],
  ])('is accepted %s', (_, make) => expectAccepted(make()))
})

describe('an algorithm that is not ours', () => {
  const nothing: Signer = () => Buffer.alloc(0)
  const none = ['none', 'None', 'NONE', 'nOnE', 'none ', 'null', '', null, undefined, false, ['none'], ['EdDSA']]
  test.each(none)('is refused: alg %j', async (alg) => {
    await expectRefused(forge({ alg }, {}, nothing))
    await expectRefused(forge({ alg }))
  })

  // The other name of the same algorithm (RFC 9864): the signature is good, only the name is not ours.
  test.each(['Ed25519', 'eddsa', 'EdDSA '])('is refused under another name: %j', (alg) => expectRefused(forge({ alg })))

  const pem = createPublicKey({ key: { ...key.publicJwk }, format: 'jwk' }).export({ type: 'spki', format: 'pem' })
  const { kty, crv, x = '' } = key.publicJwk
  test.each<[string, string | Buffer]>([
    ['as PEM', pem],
    ['as PEM without the last line feed', `${pem}`.trim()],
    ['as raw bytes', Buffer.from(x, 'base64url')],
    ['as text', x],
    ['as JWK', JSON.stringify(key.publicJwk)],
    ['as JWK of the required members', JSON.stringify({ crv, kty, x })],
    ['not at all', ''],
  ])('is refused: HS256 with the public key %s', (_, secret) =>
    expectRefused(forge({ alg: 'HS256' }, {}, hmacSigner(secret))),
  )

  test('is refused: HS256 with the public key of RS256', async () => {
    const other = await startApp({ env: { JWT_ALGORITHM: 'RS256' } })
    const { accessToken } = await other.newUser()
    const { kid, publicJwk } = await stealKey(other, 'RS256')
    const spki = createPublicKey({ key: { ...publicJwk }, format: 'jwk' }).export({ type: 'spki', format: 'pem' })
    const signer = hmacSigner(spki as string)
    const claims = freshClaims(accessToken, other.clock.now())
    const forged = compact({ alg: 'HS256', typ: 'at+jwt', kid }, claims, signer)
    const input = { token: forged }
    expectType(await other.anonymous.call(VerifyTokenDocument, { input }), 'InvalidTokenError')
    const good = { token: accessToken }
    expectType(await other.anonymous.call(VerifyTokenDocument, { input: good }), 'VerifyTokenSuccess')
  })
})

describe('a key that is not ours', () => {
  test.each<[string, unknown]>([
    ['no kid', undefined],
    ['an empty kid', ''],
    ['an unknown kid', 'kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k'],
    ['another case', key.kid.toUpperCase()],
    ['a kid with more behind it', `${key.kid} `],
    ['a path', '../../../../dev/null'],
    ['a path to ours', `../keys/${key.kid}`],
    ['a URL', 'https://evil.example/keys.json'],
    ['SQL', "' OR '1'='1"],
    ['SQL that ends the statement', `${key.kid}'; DROP TABLE signing_keys; --`],
    ['SQL that gives a key', "x' UNION SELECT 'known' AS kid --"],
    ['a pattern', '%'],
    ['a zero byte', `${key.kid}\u0000`],
    ['a property of every object', '__proto__'],
    ['a list', [key.kid]],
    ['an object', { toString: key.kid }],
    ['a number', 1],
    ['true', true],
  ])('is refused: %s', async (_, kid) => {
    await expectRefused(forge({ kid }))
    await expectRefused(forge({ alg: 'HS256', kid }, {}, hmacSigner('')))
  })

  test('is refused under the name of ours', () => expectRefused(forge({}, {}, keySigner(stranger.privateKey))))
})

describe('a header that brings keys or rules', () => {
  const jwk = stranger.publicKey.export({ format: 'jwk' })
  const own = keySigner(stranger.privateKey)
  const headers: [string, object][] = [
    ['jku', { jku: 'https://evil.example/keys.json' }],
    ['jku of ours', { jku: `${app.url}/.well-known/jwks.json` }],
    ['x5u', { x5u: 'https://evil.example/certificate.pem' }],
    ['x5c', { x5c: ['MIIBATCBtKADAgECAgEB'] }],
    ['x5t', { x5t: 'dGhlIHRodW1icHJpbnQ' }],
    ['jwk', { jwk }],
    ['jwk of ours', { jwk: key.publicJwk }],
    ['crit', { crit: ['exp'], exp: 1 }],
    ['crit that is understood', { crit: ['b64'], b64: true }],
    ['crit without names', { crit: [] }],
    ['b64', { b64: false }],
    ['zip', { zip: 'DEF' }],
    ['cty', { cty: 'JWT' }],
  ]
  test.each(headers)('is refused, though we have signed it: %s', (_, header) => expectRefused(forge(header)))
  test.each(headers)('is refused, with a key of their own: %s', async (_, header) => {
    await expectRefused(forge(header, {}, own))
    await expectRefused(forge({ ...header, kid: undefined }, {}, own))
  })
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

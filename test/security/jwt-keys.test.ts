import { createPublicKey, generateKeyPairSync } from 'node:crypto'
import { describe, test } from 'vitest'
import { startApp } from '../support/app.js'
import { expectType } from '../support/client.js'
import { startForgery } from '../support/forgery.js'
import { VerifyTokenDocument } from '../support/generated/graphql.js'
import { compact, freshClaims, hmacSigner, keySigner, type Signer, stealKey } from '../support/signing.js'

const { app, key, forge, expectRefused } = await startForgery()
const stranger = generateKeyPairSync('ed25519')

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

// What RFC 7519 says of JWTs, by its own examples where it has some, against what our verifier makes of them.
import { generateKeyPairSync } from 'node:crypto'
import { CompactEncrypt, exportJWK, importJWK } from 'jose'
import { describe, expect, test } from 'vitest'
import { type JwtAlgorithm, verifyAccessToken } from '../../src/crypto/jwt.js'
import { compact, hmacSigner, keySigner } from '../support/signing.js'

const NOW = 1300819380
const { privateKey, publicKey } = generateKeyPairSync('ed25519')
const sign = keySigner(privateKey)
const HEADER = { alg: 'EdDSA', typ: 'at+jwt', kid: 'known' }
const CLAIMS = {
  ...{ iss: 'joe', aud: 'us', sub: 'ada', sid: 'a session', jti: 'one of many' },
  ...{ iat: NOW, nbf: NOW, exp: NOW + 900, auth_time: NOW },
}

async function verify(token: string, algorithm: JwtAlgorithm = 'EdDSA', secret?: Buffer) {
  const key = secret ?? (await importJWK(await exportJWK(publicKey), 'EdDSA'))
  const findKey = async () => ({ algorithm, key })
  return verifyAccessToken(token, { algorithm, issuer: 'joe', audience: 'us', now: new Date(NOW * 1000), findKey })
}

describe('the examples', () => {
  const EXAMPLE_CLAIMS = '{"iss":"joe",\r\n "exp":1300819380,\r\n "http://example.com/is_root":true}'
  const text = (part: string) => Buffer.from(part).toString('base64url')
  const SECRET = Buffer.from(
    'AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow',
    'base64url',
  )

  test('section 3.1: the signature is that of the text, and the JWT is no access token', async () => {
    const input = `${text('{"typ":"JWT",\r\n "alg":"HS256"}')}.${text(EXAMPLE_CLAIMS)}`
    const signature = hmacSigner(SECRET)(input).toString('base64url')
    expect(signature).toBe('dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk')
    expect(await verify(`${input}.${signature}`, 'HS256', SECRET)).toBeNull()
    // It is what its header says that is missing: the same key signs what we take.
    const ours = compact({ ...HEADER, alg: 'HS256' }, CLAIMS, hmacSigner(SECRET))
    expect(await verify(ours, 'HS256', SECRET)).not.toBeNull()
  })

  test('section 6.1: an unsecured JWT is refused, also with the header and claims of ours', async () => {
    expect(await verify(`${text('{"alg":"none"}')}.${text(EXAMPLE_CLAIMS)}.`)).toBeNull()
    expect(await verify(compact({ ...HEADER, alg: 'none' }, CLAIMS, () => Buffer.alloc(0)))).toBeNull()
  })

  test.each([
    ['A.1: an encrypted JWT', {}, JSON.stringify(CLAIMS)],
    ['A.2: a nested JWT, though a good one is in it', { cty: 'JWT' }, compact(HEADER, CLAIMS, sign)],
  ])('appendix %s is refused', async (_, more, plaintext) => {
    const key = SECRET.subarray(0, 32)
    const encrypted = await new CompactEncrypt(Buffer.from(plaintext))
      .setProtectedHeader({ alg: 'dir', enc: 'A128CBC-HS256', typ: 'at+jwt', kid: 'known', ...more })
      .encrypt(key)
    expect(encrypted.split('.')).toHaveLength(5)
    expect(await verify(encrypted)).toBeNull()
    expect(await verify(encrypted, 'HS256', key)).toBeNull()
  })
})

describe('of the claims', () => {
  const isAccepted = async (claims: object, header: object = {}) =>
    (await verify(compact({ ...HEADER, ...header }, { ...CLAIMS, ...claims }, sign))) !== null

  test.each<[string, object, object?]>([
    ['section 4: what is not understood is ignored', { 'http://example.com/is_root': true, nonsense: [null] }],
    ['section 4.1.3: aud may be a list that has us in it', { aud: ['others', 'us'] }],
    ['section 2: a NumericDate may have a fraction', { exp: NOW + 0.5, nbf: NOW - 0.5, iat: NOW - 0.5 }],
    ['section 5.1: the case of typ does not matter', {}, { typ: 'AT+JWT' }],
    ['section 5.1: application/ may stand before it', {}, { typ: 'application/at+jwt' }],
  ])('%s', async (_, claims, header) => {
    expect(await isAccepted(claims, header)).toBe(true)
  })

  test.each<[string, object, object?]>([
    ['section 4.1.1: iss is another one', { iss: 'Joe' }],
    ['section 4.1.3: aud has others only', { aud: ['others'] }],
    ['section 4.1.4: exp is over', { exp: NOW - 60 }],
    ['section 4.1.4: exp is no number', { exp: 'tomorrow' }],
    ['section 4.1.5: nbf is to come', { nbf: NOW + 60 }],
    ['section 5.2: cty says that there is more in it', {}, { cty: 'JWT' }],
    ['section 5.3: claims stand in the header too', {}, { iss: 'joe', aud: 'us', sub: 'ada' }],
  ])('%s: refused', async (_, claims, header) => {
    expect(await isAccepted(claims, header)).toBe(false)
  })

  test('section 4: of a claim that stands there twice the last one counts, as the RFC allows', async () => {
    const twice = JSON.stringify(CLAIMS).replace('"iss":"joe"', '"iss":"eve","iss":"joe"')
    const other = JSON.stringify(CLAIMS).replace('"iss":"joe"', '"iss":"joe","iss":"eve"')
    const signed = (claims: string) => {
      const input = [JSON.stringify(HEADER), claims].map((part) => Buffer.from(part).toString('base64url')).join('.')
      return `${input}.${sign(input).toString('base64url')}`
    }
    expect((await verify(signed(twice)))?.claims.iss).toBe('joe')
    expect(await verify(signed(other))).toBeNull()
  })

  test.each(['[]', '"text"', '1', 'null', '{', '{"iss":"joe"} {}'])(
    'section 7.2: %s is no set of claims',
    async (text) => {
      const input = [JSON.stringify(HEADER), text].map((part) => Buffer.from(part).toString('base64url')).join('.')
      expect(await verify(`${input}.${sign(input).toString('base64url')}`)).toBeNull()
    },
  )
})

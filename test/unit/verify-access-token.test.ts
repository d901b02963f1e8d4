import { generateKeyPair, importJWK, SignJWT } from 'jose'
import { expect, test } from 'vitest'
import {
  type AccessTokenClaims,
  issueTimeOf,
  signAccessToken,
  type VerificationKey,
  verifyAccessToken,
} from '../../src/crypto/jwt.js'

const HERE = 'https://auth.example'
const now = new Date()
const seconds = Math.floor(now.getTime() / 1000)
const claims: AccessTokenClaims = {
  ...{ iss: HERE, aud: HERE, sub: 'u', jti: 'j', sid: 's', exp: seconds + 60, iat: seconds, nbf: seconds },
  ...{ auth_time: seconds, amr: ['pwd'], email: 'ada@example.com', role: 'user', permissions: [] },
}
const { privateKey, publicKey } = await generateKeyPair('ES256')
const token = await signAccessToken(claims, { algorithm: 'ES256', kid: 'k', signingKey: privateKey })
const ours: VerificationKey = { algorithm: 'ES256', key: publicKey }
const secret = (await importJWK({ kty: 'oct', k: 'c2VjcmV0' }, 'HS256')) as Uint8Array

const verify = (algorithm: VerificationKey['algorithm'], findKey: () => Promise<VerificationKey>, text = token) =>
  verifyAccessToken(text, { algorithm, issuer: HERE, audience: HERE, now, findKey })

test('A token of our algorithm and key is good', async () => {
  expect(await verify('ES256', async () => ours)).toMatchObject({ claims, kid: 'k' })
})

test.each([
  ['whose key is of another algorithm than it says', 'ES256', { algorithm: 'HS256', key: secret }],
  ['of another algorithm than ours, though its key is for that', 'EdDSA', ours],
] as const)('A token %s is none', async (_, algorithm, key) => {
  expect(await verify(algorithm, async () => key)).toBeNull()
})

test('That the keys cannot be read is no fault of the token', async () => {
  await expect(verify('ES256', () => Promise.reject(new Error('no database')))).rejects.toThrow('no database')
})

test('A token without the id of a session is none', async () => {
  const signer = { algorithm: 'ES256', kid: 'k', signingKey: privateKey } as const
  const other = await signAccessToken({ ...claims, sid: 7 as never }, signer)
  expect(await verify('ES256', async () => ours, other)).toBeNull()
})

test('A token that does not name its key by a text is none, whatever key is found', async () => {
  for (const kid of [undefined, 7, ['k']]) {
    const header = { alg: 'ES256', typ: 'at+jwt', kid: kid as never }
    const other = await new SignJWT(claims).setProtectedHeader(header).sign(privateKey)
    expect(await verify('ES256', async () => ours, other), `${kid}`).toBeNull()
  }
})

test('A token says when it was issued; what is none says nothing', () => {
  expect(issueTimeOf(token)).toEqual(new Date(seconds * 1000))
  for (const text of ['', 'a.b.c', 'e30.e30.', 'e30.eyJpYXQiOiIxIn0.']) expect(issueTimeOf(text)).toBeNull()
})

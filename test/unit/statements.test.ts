import { CompactSign, generateKeyPair } from 'jose'
import { expect, test } from 'vitest'
import { readStatement, signStatement } from '../../src/crypto/statements.js'

const TYPE = 'portcullis-audit+jws'
const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true })
const verifier = { algorithm: 'ES256', key: publicKey } as const

const sign = (content: string, typ: string) =>
  new CompactSign(Buffer.from(content)).setProtectedHeader({ alg: 'ES256', typ, kid: 'k' }).sign(privateKey)

test('A statement says what was signed', async () => {
  const signed = await signStatement(TYPE, { upTo: 7 }, { algorithm: 'ES256', kid: 'k', signingKey: privateKey })
  expect(await readStatement(TYPE, signed, verifier)).toEqual({ upTo: 7 })
})

test.each([
  ['of another type, as an access token is', () => sign('{"upTo":7}', 'at+jwt'), verifier],
  ['that is no JSON', () => sign('upTo', TYPE), verifier],
  ['that was changed', async () => (await sign('{"upTo":7}', TYPE)).replace(/\.[^.]*\./, '.e30.'), verifier],
  ['of another algorithm than its key is for', () => sign('{"upTo":7}', TYPE), { ...verifier, algorithm: 'EdDSA' }],
] as const)('A statement %s says nothing', async (_, make, { key, algorithm }) => {
  expect(await readStatement(TYPE, await make(), { key, algorithm })).toBeNull()
})

test('A key that cannot be used is no fault of the statement', async () => {
  const signed = await sign('{"upTo":7}', TYPE)
  await expect(readStatement(TYPE, signed, { algorithm: 'ES256', key: privateKey })).rejects.toThrow(TypeError)
})

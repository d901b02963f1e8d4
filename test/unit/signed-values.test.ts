import { expect, test } from 'vitest'
import { isCsrfTokenValid, issueCsrfToken } from '../../src/crypto/csrf.js'
import { createKeyRings } from '../../src/crypto/key-ring.js'
import { openSigned, signValue } from '../../src/crypto/signed-values.js'

const EARLIER = 'a-secret-key-of-this-test-that-is-no-secret'
const LATER = 'another-secret-key-of-this-test'
const keysOf = createKeyRings([EARLIER])
const keys = keysOf('csrf')

test('What was signed is read as it was, and in no other spelling', () => {
  const signed = signValue(keys, 'Äda')
  expect(openSigned(keys, signed)).toBe('Äda')
  for (const other of ['', '.', `${signed}.`, `${signed}.more`, `${signed}=`, `.${signed}`, signed.slice(0, -1)])
    expect(openSigned(keys, other), other).toBeNull()
})

test('What was signed for one purpose is nothing for another', () => {
  expect(openSigned(keysOf('device'), signValue(keys, 'Ada'))).toBeNull()
})

test('What was signed with an earlier key is read while that one is kept, and nothing is signed with it', () => {
  const [both, later] = [createKeyRings([LATER, EARLIER])('csrf'), createKeyRings([LATER])('csrf')]
  expect(openSigned(both, signValue(keys, 'Ada'))).toBe('Ada')
  expect(openSigned(later, signValue(keys, 'Ada'))).toBeNull()
  expect(openSigned(later, signValue(both, 'Ada'))).toBe('Ada')
})

test('A CSRF token is one that was issued, and the same in the header as in the cookie', () => {
  const [token, other] = [issueCsrfToken(keys), issueCsrfToken(keys)]
  expect(isCsrfTokenValid(keys, token, token)).toBe(true)
  const pairs = [
    ...[
      [token, other],
      [token, token.slice(0, -1)],
      [token, undefined],
      [undefined, token],
      ['', ''],
      [undefined, undefined],
    ],
    ...[
      ['planted', 'planted'],
      ['cGxhbnRlZA.', 'cGxhbnRlZA.'],
    ],
  ]
  for (const [cookie, header] of pairs)
    expect(isCsrfTokenValid(keys, cookie, header), `${cookie}, ${header}`).toBe(false)
})

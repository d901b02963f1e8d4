import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { firstRefreshToken, isRefreshTokenShaped, ownerOf, successorOf } from '../../src/crypto/refresh-tokens.js'

const HANDLE = 24
const [key, next] = [randomBytes(32), randomBytes(32)]

/** A token with that sign in its handle. */
function tokenWith(sign: string): string {
  const token = firstRefreshToken(key, 'ada')
  return token.slice(0, HANDLE).includes(sign) ? token : tokenWith(sign)
}

test('All families of an account have the same owner, and keep it under a new key', () => {
  const token = firstRefreshToken(key, 'ada')
  const owner = ownerOf(token, [key])
  expect(owner).toEqual(expect.any(String))
  expect(ownerOf(firstRefreshToken(key, 'ada'), [key])).toBe(owner)
  expect(ownerOf(firstRefreshToken(key, 'bob'), [key])).not.toBe(owner)
  expect(ownerOf(token, [next, key])).toBe(owner)
  expect(ownerOf(successorOf(next, token), [next])).toBe(owner)
})

test('A family that was made up, or under a key that is gone, has no owner', () => {
  const token = firstRefreshToken(key, 'ada')
  expect(ownerOf(token, [next])).toBeNull()
  for (const handle of ['A'.repeat(HANDLE), `${token.slice(0, 12)}${'A'.repeat(12)}`])
    expect(ownerOf(handle + token.slice(HANDLE), [key]), handle).toBeNull()
})

test.each<[string, () => string]>([
  ['with padding', () => `${firstRefreshToken(key, 'ada')}=`],
  ['with a plus for a minus', () => tokenWith('-').replace('-', '+')],
  ['with a slash for an underscore', () => tokenWith('_').replace('_', '/')],
  ['with a sign that is read as another', () => tokenWith('A').replace('A', '\u0141')],
  ['with other bits where they count for nothing', () => `${firstRefreshToken(key, 'ada').slice(0, -1)}B`],
])('A token that is written otherwise is none: %s', (_, write) => {
  const token = write()
  expect(isRefreshTokenShaped(token)).toBe(false)
  expect(ownerOf(token, [key])).toBeNull()
})

import { expect, test } from 'vitest'
import { createKeyRings } from '../../src/crypto/key-ring.js'
import { createSigningKeys } from '../../src/services/signing-keys.js'
import { makeKey } from '../../src/services/stored-keys.js'

test.each([
  ['starts', true],
  ['goes on, though the one before is gone,', false],
])('A server that %s while another one makes the first key signs with that one', async (_, isStart) => {
  const keys = createKeyRings(['a-secret-key-of-this-test-that-is-no-secret'])('signing-keys')
  const made = { ...(await makeKey(keys, 'EdDSA', new Date())), retiredAt: null, revokedAt: null }
  let looks = 0
  // The first look finds none: the other server commits right after it.
  const look = () => {
    looks += 1
    return looks === 1 ? null : made
  }
  const prisma = { signingKey: { findFirst: async () => look(), findMany: async () => [look()].filter(Boolean) } }
  const tx = { prisma, sql: async () => [] }
  const signingKeys = createSigningKeys({
    db: { ...tx, transaction: (work: (each: typeof tx) => unknown) => work(tx) } as never,
    clock: { now: () => new Date() },
    log: { error: () => {} } as never,
    bus: { publish: () => {}, subscribe: () => () => {} },
    ...{ keys, algorithm: 'EdDSA' as const, hmacKeys: [], tokenLifetimeMs: 900_000, rotationMs: null },
  })
  if (isStart) await signingKeys.prepare()
  expect((await signingKeys.signer()).kid).toBe(made.kid)
})

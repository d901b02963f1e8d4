import { expect, onTestFinished, test, vi } from 'vitest'
import { createKeyRings } from '../../src/crypto/key-ring.js'
import { createSigningKeys } from '../../src/services/signing-keys.js'
import { makeKey } from '../../src/services/stored-keys.js'

const KEYS = createKeyRings(['a-secret-key-of-this-test-that-is-no-secret'])('signing-keys')
const newKey = async () => ({ ...(await makeKey(KEYS, 'EdDSA', new Date())), retiredAt: null, revokedAt: null })
type Key = Awaited<ReturnType<typeof newKey>>

/** A server whose database gives, at each look, what `look` says. */
function createServer(look: () => Key | null, now = () => new Date(), settings: { algorithm?: 'HS256' } = {}) {
  let hearOfChange = () => {}
  const prisma = { signingKey: { findFirst: async () => look(), findMany: async () => [look()].filter(Boolean) } }
  const tx = { prisma, sql: async () => [] }
  const subscribe = (_: string, listener: () => void) => {
    hearOfChange = listener
    return () => {}
  }
  const signingKeys = createSigningKeys({
    db: { ...tx, transaction: (work: (each: typeof tx) => unknown) => work(tx) } as never,
    clock: { now },
    log: { error: () => {} } as never,
    bus: { publish: () => {}, subscribe } as never,
    ...{ keys: KEYS, algorithm: 'EdDSA' as const, hmacKeys: ['a secret'], tokenLifetimeMs: 900_000, rotationMs: 1 },
    ...settings,
  })
  return { signingKeys, hearOfChange: () => hearOfChange() }
}

test.each([
  ['starts', true],
  ['goes on, though the one before is gone,', false],
])('A server that %s while another one makes the first key signs with that one', async (_, isStart) => {
  const made = await newKey()
  let looks = 0
  // The first look finds none: the other server commits right after it.
  const { signingKeys } = createServer(() => {
    looks += 1
    return looks === 1 ? null : made
  })
  if (isStart) await signingKeys.prepare()
  expect((await signingKeys.signer()).kid).toBe(made.kid)
})

test.each([
  ['that is gone', {}],
  ['of HS256, which is in the settings', { algorithm: 'HS256' as const }],
])('The schedule has nothing to replace in a key %s', async (_, settings) => {
  const { signingKeys } = createServer(() => null, undefined, settings)
  expect(await signingKeys.rotateIfDue()).toBeNull()
})

test('A key that is withdrawn while the keys are read is not believed', async () => {
  const made = await newKey()
  let isWithdrawn = false
  const { signingKeys, hearOfChange } = createServer(() => {
    const found = isWithdrawn ? null : made
    // What comes of this look is older than the message.
    if (!isWithdrawn) hearOfChange()
    isWithdrawn = true
    return found
  })
  expect(await signingKeys.find(made.kid)).toBeNull()
})

test('What is known of the keys is not believed for longer where the clock is set back', async () => {
  const made = await newKey()
  let [found, now]: [Key | null, number] = [made, Date.now()]
  const { signingKeys } = createServer(
    () => found,
    () => new Date(now),
  )
  expect(await signingKeys.find(made.kid)).toMatchObject({ kid: made.kid })
  ;[found, now] = [null, now - 3_600_000]
  expect(await signingKeys.find(made.kid)).toBeNull()
})

test('Whoever makes keys up has the database asked once in a tenth of a second, however many ask', async () => {
  const made = await newKey()
  let [looks, now] = [0, Date.now()]
  const look = () => {
    looks += 1
    return made
  }
  const { signingKeys } = createServer(look, () => new Date(now))
  const ask = () => Promise.all(['a', 'b', 'c'].map((kid) => signingKeys.find(kid)))
  expect(await ask()).toEqual([null, null, null])
  await ask()
  expect(looks).toBe(1)
  now += 100
  await ask()
  await ask()
  expect(looks).toBe(2)
})

test('Whoever watches a key hears of its end, though looks have failed; when nobody watches, nobody looks', async () => {
  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
  const made = await newKey()
  let look = (): Key | null => made
  let looks = 0
  const { signingKeys } = createServer(() => {
    looks += 1
    return look()
  })
  await signingKeys.find(made.kid)
  const [watching, gone] = [vi.fn(), vi.fn()]
  const leave = signingKeys.watch(made.kid, gone)
  leave()
  const end = signingKeys.watch(made.kid, watching)
  leave()
  await vi.advanceTimersByTimeAsync(2000)
  look = () => {
    throw new Error('The database is away')
  }
  await vi.advanceTimersByTimeAsync(2000)
  expect(watching).not.toHaveBeenCalled()
  look = () => null
  await vi.advanceTimersByTimeAsync(1000)
  expect(watching).toHaveBeenCalled()
  expect(gone).not.toHaveBeenCalled()
  end()
  const before = looks
  await vi.advanceTimersByTimeAsync(10_000)
  expect(looks).toBe(before)
})

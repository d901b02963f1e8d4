import { expect, test } from 'vitest'
import { createMemoryBus, createMemoryRateLimitStore } from '../../src/infra/memory.js'

const fakeClock = (start = 0) => {
  let now = start
  return { now: () => now, advance: (ms: number) => (now += ms) }
}

/** mulberry32: small, and the same sequence in every run. */
const random = (seed: number) => {
  let state = seed
  return (below: number) => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below
  }
}

test('a key passes `max` calls in a window, and one more as soon as the oldest has left it', async () => {
  const clock = fakeClock()
  const store = createMemoryRateLimitStore(clock.now)
  const rule = { key: 'k', max: 2, windowMs: 1000 }
  expect(await store.consume([rule])).toEqual({ isAllowed: true, limit: 2, remaining: 1, resetMs: 1000 })
  clock.advance(400)
  expect(await store.consume([rule])).toEqual({ isAllowed: true, limit: 2, remaining: 0, resetMs: 600 })
  clock.advance(100)
  expect(await store.consume([rule])).toEqual({ isAllowed: false, limit: 2, remaining: 0, resetMs: 500 })
  clock.advance(499)
  expect((await store.consume([rule])).isAllowed).toBe(false)
  clock.advance(1)
  expect((await store.consume([rule])).isAllowed).toBe(true)
  expect(await store.consume([rule])).toEqual({ isAllowed: false, limit: 2, remaining: 0, resetMs: 400 })
})

test('a refused call consumes nothing of the other rules', async () => {
  const store = createMemoryRateLimitStore(() => 0)
  const narrow = { key: 'narrow', max: 1, windowMs: 1000 }
  const wide = { key: 'wide', max: 3, windowMs: 1000 }
  await store.consume([wide, narrow])
  for (let call = 0; call < 10; call += 1) expect((await store.consume([wide, narrow])).limit).toBe(1)
  expect(await store.consume([wide])).toMatchObject({ isAllowed: true, remaining: 1 })
})

test('of several refusing rules the one that lasts longest is told', async () => {
  const store = createMemoryRateLimitStore(() => 0)
  const rules = [
    { key: 'a', max: 1, windowMs: 1000 },
    { key: 'b', max: 1, windowMs: 9000 },
  ]
  await store.consume(rules)
  expect(await store.consume(rules)).toMatchObject({ isAllowed: false, resetMs: 9000 })
})

test('200 concurrent calls against a limit of 5 pass exactly 5 times', async () => {
  const store = createMemoryRateLimitStore()
  const verdicts = await Promise.all(
    Array.from({ length: 200 }, () => store.consume([{ key: 'k', max: 5, windowMs: 60_000 }])),
  )
  expect(verdicts.filter((verdict) => verdict.isAllowed)).toHaveLength(5)
})

test('in random sequences the verdicts are those of a plain count over all calls ever made', async () => {
  const pick = random(7)
  const clock = fakeClock()
  const store = createMemoryRateLimitStore(clock.now)
  const rules = [
    { key: 'a', max: 3, windowMs: 50 },
    { key: 'a', max: 8, windowMs: 300 },
    { key: 'b', max: 5, windowMs: 120 },
    { key: 'c', max: 0, windowMs: 10 },
  ]
  const calls = rules.map((): number[] => [])
  const live = (index: number) =>
    (calls[index] ?? []).filter((time) => time > clock.now() - (rules[index]?.windowMs ?? 0))
  for (let step = 0; step < 5000; step += 1) {
    clock.advance(pick(20))
    const chosen = rules.map((_, index) => index).filter((index) => pick(index === 3 ? 50 : 2) === 0)
    if (chosen.length === 0) continue
    const expected = chosen.every((index) => live(index).length < (rules[index]?.max ?? 0))
    const verdict = await store.consume(chosen.flatMap((index) => rules[index] ?? []))
    expect(verdict.isAllowed).toBe(expected)
    if (expected) for (const index of chosen) calls[index]?.push(clock.now())
    const left = chosen.map((index) => (rules[index]?.max ?? 0) - live(index).length)
    expect(verdict.remaining).toBe(Math.max(0, Math.min(...left)))
  }
})

test('keys whose window has passed are forgotten, and the number of keys is bounded', async () => {
  const clock = fakeClock()
  const store = createMemoryRateLimitStore(clock.now, 2000)
  for (let call = 0; call < 10_000; call += 1) {
    clock.advance(1)
    await store.consume([{ key: `key ${call}`, max: 1, windowMs: 500 }])
  }
  expect(store.size()).toBeLessThan(1000)
  for (let call = 0; call < 5000; call += 1) await store.consume([{ key: `other ${call}`, max: 1, windowMs: 60_000 }])
  expect(store.size()).toBe(2000)
})

test('past the bound the key goes that was used least recently, not the one that was used first', async () => {
  const store = createMemoryRateLimitStore(() => 0, 2)
  const call = async (key: string) => (await store.consume([{ key, max: 2, windowMs: 1000 }])).isAllowed
  for (const key of ['busy', 'idle', 'busy', 'new']) expect(await call(key)).toBe(true)
  expect(await call('busy')).toBe(false)
})

test('a message reaches every listener of its channel once, and none that has ended', () => {
  const errors: unknown[] = []
  const bus = createMemoryBus({ error: (fields) => errors.push(fields) })
  const heard: string[] = []
  bus.subscribe('a', () => {
    throw new Error('broken listener')
  })
  const end = bus.subscribe('a', (message) => heard.push(`first ${message}`))
  bus.subscribe('a', (message) => heard.push(`second ${message}`))
  bus.subscribe('b', (message) => heard.push(`other ${message}`))
  bus.publish('a', '1')
  end()
  end()
  bus.publish('a', '2')
  expect(heard).toEqual(['first 1', 'second 1', 'second 2'])
  expect(errors).toHaveLength(2)
})

test('who ends twice ends nobody who has come since', () => {
  const bus = createMemoryBus({ error: () => {} })
  const heard: string[] = []
  const end = bus.subscribe('a', () => {})
  end()
  bus.subscribe('a', (message) => heard.push(message))
  end()
  bus.publish('a', '1')
  expect(heard).toEqual(['1'])
})

import { expect, test } from 'vitest'
import { createMissLedger } from '../../src/infra/miss-ledger.js'

const fakeClock = () => {
  let now = 0
  return { now: () => now, advance: (ms: number) => (now += ms) }
}

test('a read in vain allows one fill, within two seconds', () => {
  for (const [delay, expected] of [
    [0, 'g'],
    [2000, 'g'],
    [2001, null],
  ] as const) {
    const clock = fakeClock()
    const ledger = createMissLedger(clock.now)
    ledger.note('a', clock.now(), 'g')
    clock.advance(delay)
    expect(ledger.take('a')?.generation ?? null, `after ${delay} ms`).toBe(expected)
    expect(ledger.take('a')).toBeNull()
  }
})

test('a fill that no read preceded is dropped', () => {
  expect(createMissLedger(fakeClock().now).take('a')).toBeNull()
})

test('nor is there one after a read that the cache did not answer: nobody knows what it holds', () => {
  const ledger = createMissLedger(fakeClock().now)
  ledger.note('a', 0, null)
  expect(ledger.take('a')).toBeNull()
})

test('a slow reader cannot borrow the miss of a later one', () => {
  const clock = fakeClock()
  const ledger = createMissLedger(clock.now)
  ledger.note('a', clock.now(), 'g')
  clock.advance(10_000)
  ledger.note('a', clock.now(), 'g')
  expect(ledger.take('a')).toBeNull()
  expect(ledger.take('a')).toBeNull()
  ledger.note('a', clock.now(), 'g')
  expect(ledger.take('a')).toEqual({ generation: 'g', since: 10_000 })
})

test('a reader that never fills does not keep a key out of the cache for ever', () => {
  const clock = fakeClock()
  const ledger = createMissLedger(clock.now)
  ledger.note('a', clock.now(), 'g')
  clock.advance(60_000)
  ledger.note('a', clock.now(), 'h')
  expect(ledger.take('a')?.generation).toBe('h')
})

import { describe, expect, test, vi } from 'vitest'
import { createMemoryRateLimitStore } from '../../src/infra/memory.js'
import { createRedisRateLimitStore } from '../../src/infra/redis-rate-limits.js'
import type { RateLimitStore } from '../../src/ports.js'
import { countOf, createConnections, newPrefix, redisOfFile, WAIT } from '../support/redis-connections.js'
import { hasRedis } from '../support/redis-server.js'

const redis = await redisOfFile()
const { connect } = createConnections()

describe.skipIf(!hasRedis)('Rate limits in Redis', () => {
  const storeOf = async (prefix: string, fallback: RateLimitStore = createMemoryRateLimitStore()) =>
    createRedisRateLimitStore(await connect(redis.url), fallback, { prefix })

  test('200 concurrent calls over two connections against a limit of 5 pass exactly 5 times', async () => {
    const prefix = newPrefix()
    const stores = [await storeOf(prefix), await storeOf(prefix)]
    const rule = { key: 'login', max: 5, windowMs: 60_000 }
    const calls = Array.from({ length: 200 }, (_, index) => stores[index % 2]?.consume([rule]))
    const verdicts = await Promise.all(calls)
    expect(verdicts.filter((verdict) => verdict?.isAllowed)).toHaveLength(5)
  })

  test('a slow server still decides where a cache would do without it: a flood gains no second count', async () => {
    const prefix = newPrefix()
    const [one, two] = [await storeOf(prefix), await storeOf(prefix)]
    const reader = await connect(redis.url)
    const rule = { key: 'slow', max: 1, windowMs: 60_000 }
    expect((await one.consume([rule])).isAllowed).toBe(true)
    redis.pause()
    const deciding = two.consume([rule])
    await reader.run(
      (client) => client.get('x'),
      () => null,
    )
    redis.resume()
    expect((await deciding).isAllowed).toBe(false)
  })

  test('a refused call consumes nothing of the other rules', async () => {
    const store = await storeOf(newPrefix())
    const narrow = { key: 'narrow', max: 1, windowMs: 60_000 }
    const wide = { key: 'wide', max: 3, windowMs: 60_000 }
    await store.consume([wide, narrow])
    for (let call = 0; call < 5; call += 1) {
      expect(await store.consume([wide, narrow])).toMatchObject({ isAllowed: false, limit: 1, remaining: 0 })
    }
    expect(await store.consume([wide])).toMatchObject({ isAllowed: true, limit: 3, remaining: 1 })
  })

  test('one more call passes when the oldest has left the window, and not before', async () => {
    const store = await storeOf(newPrefix())
    const rule = { key: 'k', max: 2, windowMs: 700 }
    await store.consume([rule])
    expect(await store.consume([rule])).toMatchObject({ isAllowed: true, remaining: 0 })
    const refused = await store.consume([rule])
    expect(refused.isAllowed).toBe(false)
    expect(refused.resetMs).toBeGreaterThan(0)
    expect(refused.resetMs).toBeLessThanOrEqual(700)
    await expect.poll(async () => (await store.consume([rule])).isAllowed, WAIT).toBe(true)
  })

  test('it answers as its twin in this process does', async () => {
    const store = await storeOf(newPrefix())
    const twin = createMemoryRateLimitStore()
    const rules = [
      { key: 'a', max: 7, windowMs: 60_000 },
      { key: 'a', max: 20, windowMs: 3_600_000 },
      { key: 'b', max: 3, windowMs: 90_000 },
      { key: 'never', max: 0, windowMs: 1000 },
    ]
    for (let step = 0; step < 60; step += 1) {
      const chosen = rules.filter((_, index) => ((step * 2654435761) >>> (index + 3)) % (index === 3 ? 9 : 2) === 0)
      const [theirs, ours] = [await store.consume(chosen), await twin.consume(chosen)]
      expect({ ...theirs, resetMs: 0 }).toEqual({ ...ours, resetMs: 0 })
      expect(Math.abs(theirs.resetMs - ours.resetMs)).toBeLessThan(2000)
    }
  })

  test('after a limit was lowered whoever waits as long as he is told passes, and not just when the oldest call is gone', async () => {
    const prefix = newPrefix()
    const store = await storeOf(prefix)
    const rule = { key: 'lowered', max: 5, windowMs: 600_000 }
    await store.consume([rule])
    const [key = ''] = await redis.admin.keys(`${prefix}*`)
    const stamp = Number(await redis.admin.lindex(key, 0))
    await redis.admin.lpush(key, stamp - 500_000_000)
    const refused = await store.consume([{ ...rule, max: 1 }])
    expect(refused.isAllowed).toBe(false)
    expect(refused.resetMs).toBeGreaterThan(300_000)
    // Where calls are left, it is the oldest that gives one back.
    const passed = await store.consume([rule])
    expect(passed).toMatchObject({ isAllowed: true, remaining: 2 })
    expect(passed.resetMs).toBeLessThan(300_000)
  })

  test('a call without limits passes, and takes none of those that come with it away from Redis', async () => {
    const store = await storeOf(newPrefix(), { consume: () => Promise.reject(new Error('fell back')) })
    const rule = { key: 'k', max: 1, windowMs: 60_000 }
    const verdicts = await Promise.all([store.consume([]), store.consume([rule]), store.consume([rule])])
    expect(verdicts.map(({ isAllowed }) => isAllowed)).toEqual([true, true, false])
  })

  test('one call is one command, and what it leaves expires', async () => {
    const prefix = newPrefix()
    const store = await storeOf(prefix)
    const rules = [
      { key: 'x'.repeat(100_000), max: 5, windowMs: 60_000 },
      { key: 'y', max: 5, windowMs: 30_000 },
    ]
    await store.consume(rules)
    const before = await countOf(redis, 'evalsha')
    await store.consume(rules)
    expect((await countOf(redis, 'evalsha')) - before).toBe(1)
    const keys = await redis.admin.keys(`${prefix}*`)
    expect(keys).toHaveLength(2)
    for (const key of keys) {
      expect(key.length).toBeLessThan(100)
      const windowMs = Number(key.split(':').at(-1))
      const leftMs = await redis.admin.pttl(key)
      expect({ key, isKept: leftMs > windowMs - 20_000 && leftMs <= windowMs }).toEqual({ key, isKept: true })
      expect(await redis.admin.llen(key)).toBe(2)
    }
  })

  test('limits hold while the server is away, and it is used again afterwards', async () => {
    const prefix = newPrefix()
    const store = await storeOf(prefix)
    const rule = { key: 'k', max: 3, windowMs: 600_000 }
    await redis.kill()
    const verdicts = []
    for (let call = 0; call < 10; call += 1) verdicts.push(await store.consume([rule]))
    expect(verdicts.filter((verdict) => verdict.isAllowed)).toHaveLength(3)
    await redis.start()
    const other = { key: 'other', max: 1_000_000, windowMs: 600_000 }
    await vi.waitFor(async () => {
      await store.consume([other])
      expect(await redis.admin.keys(`${prefix}*`)).toHaveLength(1)
    }, WAIT)
  })
})

import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { FILL_LIFE_MS } from '../../src/infra/miss-ledger.js'
import type { RedisConnection } from '../../src/infra/redis.js'
import { createRedisCache } from '../../src/infra/redis-cache.js'
import type { Cache } from '../../src/ports.js'
import { createConnections, newPrefix, redisOfFile } from '../support/redis-connections.js'
import { hasRedis } from '../support/redis-server.js'

const redis = await redisOfFile()
const { connect } = createConnections()

describe.skipIf(!hasRedis)('A fill of the cache in Redis', () => {
  async function both() {
    const prefix = newPrefix()
    const first = createRedisCache(await connect(redis.url), { prefix })
    const second = createRedisCache(await connect(redis.url), { prefix })
    await Promise.all([first.read(['warm']), second.read(['warm'])])
    return { first, second }
  }

  test('leaves what another process has filled in since', async () => {
    const { first, second } = await both()
    await Promise.all([first.read(['a']), second.read(['a'])])
    await first.fill([{ key: 'a', value: 'first' }], 60)
    await second.fill([{ key: 'a', value: 'second' }], 60)
    expect(await second.read(['a'])).toEqual(['first'])
  })

  test('of what nobody has read lets no later one in that is too late', async () => {
    const prefix = newPrefix()
    let now = 10_000
    const slow = createRedisCache(await connect(redis.url), { prefix, clock: () => now })
    const other = createRedisCache(await connect(redis.url), { prefix })
    await Promise.all([slow.read(['warm']), other.read(['warm'])])
    await slow.fill([{ key: 'unread', value: 'x' }], 60)
    // The clock of Redis has gone on by so much more than its own.
    now -= FILL_LIFE_MS + 100
    await slow.read(['a'])
    await slow.fill([{ key: 'a', value: 'stale' }], 60)
    expect(await other.read(['a'])).toEqual([null])
  })
})

test('What is in Redis is not believed when the connection was lost while it was being made sure of', async () => {
  const asked: string[] = []
  let outages = 0
  const client = {
    set: async () => {
      asked.push('set')
      if (asked.length === 1) outages += 1
      return 'OK'
    },
    time: async () => ['1', '0'],
    mget: async () => {
      asked.push('mget')
      return ['epoch', 'epoch!']
    },
  }
  const connection = {
    ...{ client, isCluster: false, outages: () => outages, onReconnect: () => {} },
    run: (command: (each: typeof client) => unknown) => command(client),
  }
  const cache = createRedisCache(connection as never as RedisConnection, { prefix: newPrefix() })
  expect(await cache.read(['a'])).toEqual([null])
  expect(await cache.read(['a'])).toEqual(['!'])
  expect(asked).toEqual(['set', 'set', 'mget'])
})

/** A connection to a Redis that holds what it is told. What is `lost` was sent, and nothing is heard of it. */
function createFake() {
  const texts = new Map<string, string>()
  const fake = { state: 'here' as 'here' | 'away' | 'lost', texts, epochs: 0 }
  const client = {
    status: 'ready',
    set: async (key: string, text: string) => {
      texts.set(key, text)
      if (key.endsWith('cache-epoch')) fake.epochs += 1
      return 'OK'
    },
    time: async () => ['1', '0'],
    mget: async (keys: string[]) => keys.map((key) => texts.get(key) ?? null),
    evalsha: async (_hash: string, _count: number, key: string, epoch: string, value: string) => {
      texts.set(key, epoch + value)
      return 1000
    },
  }
  const run = async (command: (each: typeof client) => unknown, fallback: () => unknown) => {
    if (fake.state === 'away') return fallback()
    const answer = await command(client)
    return fake.state === 'lost' ? fallback() : answer
  }
  const connection = { client, isCluster: false, outages: () => 0, onReconnect: () => {}, run }
  return Object.assign(fake, { connection: connection as never as RedisConnection })
}
const load = async (cache: Cache, key: string, value: string) => {
  await cache.read([key])
  await cache.fill([{ key, value }], 60)
}

test.each([
  ['of which nothing was heard empties the cache: it may arrive after what would have stopped it', 'lost', null],
  ['that was not even sent leaves it as it is', 'away', 'known'],
] as const)('A fill %s', async (_, state, expected) => {
  const fake = createFake()
  const cache = createRedisCache(fake.connection, { prefix: newPrefix() })
  await load(cache, 'a', 'known')
  expect(await cache.read(['a', 'b'])).toEqual(['known', null])
  fake.state = state
  await cache.fill([{ key: 'b', value: 'late' }], 60)
  fake.state = 'here'
  expect(await cache.read(['a'])).toEqual([expected])
})

test('However many read at once when the cache is in doubt, it is emptied once', async () => {
  const fake = createFake()
  const cache = createRedisCache(fake.connection, { prefix: newPrefix() })
  await Promise.all(Array.from({ length: 50 }, (_, index) => cache.read([`key ${index}`])))
  expect(fake.epochs).toBe(1)
})

test('What was filled in since a lost invalidation was made up for stays', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  onTestFinished(() => void vi.useRealTimers())
  const fake = createFake()
  const cache = createRedisCache(fake.connection, { prefix: newPrefix() })
  await load(cache, 'a', 'old')
  fake.state = 'away'
  await cache.invalidate(['a'])
  fake.state = 'here'
  await load(cache, 'a', 'new')
  await vi.advanceTimersByTimeAsync(10_000)
  expect(await cache.read(['a'])).toEqual(['new'])
})

test('That a value was found once does not keep it from being filled in when it is gone', async () => {
  const fake = createFake()
  let now = 0
  const cache = createRedisCache(fake.connection, { prefix: 'x:', clock: () => now })
  await load(cache, 'a', 'old')
  expect(await cache.read(['a'])).toEqual(['old'])
  now += 3000
  fake.texts.delete('x:cache:a')
  await load(cache, 'a', 'new')
  expect(await cache.read(['a'])).toEqual(['new'])
})

import { describe, expect, test } from 'vitest'
import { FILL_LIFE_MS } from '../../src/infra/miss-ledger.js'
import { createRedisCache } from '../../src/infra/redis-cache.js'
import { countOf, createConnections, newPrefix, redisOfFile, timed, WAIT } from '../support/redis-connections.js'
import { freePort, hasRedis, startRedis } from '../support/redis-server.js'

const redis = await redisOfFile()
const { begin, connect } = createConnections()

const fakeClock = () => {
  let now = 1000
  return { clock: () => now, advance: (ms: number) => (now += ms) }
}
const load = async (cache: ReturnType<typeof createRedisCache>, key: string, value: string) => {
  await cache.read([key])
  await cache.fill([{ key, value }], 60)
}

describe.skipIf(!hasRedis)('The cache in Redis', () => {
  test('what was read in vain can be filled, and is read by another process', async () => {
    const prefix = newPrefix()
    const reads: number[][] = []
    const onRead = (...counts: number[]) => void reads.push(counts)
    const first = createRedisCache(await connect(redis.url), { prefix, onRead })
    const second = createRedisCache(await connect(redis.url), { prefix })
    // The first read of a process starts a new epoch.
    await second.read(['warm'])
    await first.read(['warm'])
    expect(await first.read(['a', 'b'])).toEqual([null, null])
    await first.fill([{ key: 'a', value: '{"name":"Ä"}' }], 60)
    expect(await second.read(['a', 'b'])).toEqual(['{"name":"Ä"}', null])
    expect(await first.read(['a', 'b'])).toEqual(['{"name":"Ä"}', null])
    expect(reads.slice(1)).toEqual([
      [0, 2],
      [1, 1],
    ])
    expect(await redis.admin.ttl(`${prefix}cache:a`)).toBeGreaterThan(50)
    expect(await redis.admin.ttl(`${prefix}cache:a`)).toBeLessThanOrEqual(60)
    expect(await first.read([])).toEqual([])
  })

  test('a batch of reads is one command', async () => {
    const cache = createRedisCache(await connect(redis.url), { prefix: newPrefix() })
    await cache.read(['warm'])
    const [gets, mgets] = [await countOf(redis, 'get'), await countOf(redis, 'mget')]
    await cache.read(Array.from({ length: 50 }, (_, index) => `key ${index}`))
    expect([(await countOf(redis, 'get')) - gets, (await countOf(redis, 'mget')) - mgets]).toEqual([0, 1])
  })

  test('an invalidation in one process beats a fill in another that was read before it', async () => {
    const prefix = newPrefix()
    const first = createRedisCache(await connect(redis.url), { prefix })
    const second = createRedisCache(await connect(redis.url), { prefix })
    await Promise.all([first.read(['warm']), second.read(['warm'])])
    await first.read(['a'])
    await second.invalidate(['a'])
    await first.fill([{ key: 'a', value: 'stale' }], 60)
    expect(await second.read(['a'])).toEqual([null])
    expect(await first.read(['a'])).toEqual([null])
    expect(await redis.admin.pttl(`${prefix}cache:a`)).toBeGreaterThan(3000)
  })

  test('a fill that comes after the tombstone has gone is dropped', async () => {
    const prefix = newPrefix()
    const time = fakeClock()
    const slow = createRedisCache(await connect(redis.url), { prefix, clock: time.clock })
    const other = createRedisCache(await connect(redis.url), { prefix })
    await Promise.all([slow.read(['warm']), other.read(['warm'])])
    await slow.read(['a'])
    await other.invalidate(['a'])
    await redis.admin.del(`${prefix}cache:a`)
    time.advance(6000)
    await slow.read(['a'])
    await slow.fill([{ key: 'a', value: 'stale' }], 60)
    expect(await other.read(['a'])).toEqual([null])
  })

  test('a fill that arrives late is refused, though whoever has sent it is gone, and renews no epoch', async () => {
    const prefix = newPrefix()
    const connection = await connect(redis.url)
    const { clock, advance } = fakeClock()
    const gone = createRedisCache(connection, { prefix, clock })
    const other = createRedisCache(await connect(redis.url), { prefix })
    await Promise.all([gone.read(['warm']), other.read(['warm'])])
    await load(gone, 'b', 'known')
    expect(await other.read(['b'])).toEqual(['known'])
    // So much earlier by the clock of Redis as the fill is on its way.
    advance(-FILL_LIFE_MS - 100)
    await gone.read(['a'])
    const held: Parameters<typeof redis.admin.evalsha>[] = []
    connection.client.evalsha = ((...call: Parameters<typeof redis.admin.evalsha>) => {
      held.push(call)
      return new Promise(() => {})
    }) as typeof connection.client.evalsha
    const filling = gone.fill([{ key: 'a', value: 'stale' }], 60)
    await connection.close()
    await filling
    await other.invalidate(['a'])
    // As by the end of its five seconds.
    await redis.admin.del(`${prefix}cache:a`)
    for (const call of held) await redis.admin.evalsha(...call)
    expect(await other.read(['a'])).toEqual([null])
    expect(held).toHaveLength(1)
  })

  test('what was read before the machine slept is not filled, though others have been filled since', async () => {
    const prefix = newPrefix()
    const { clock, advance } = fakeClock()
    const asleep = createRedisCache(await connect(redis.url), { prefix, clock })
    const other = createRedisCache(await connect(redis.url), { prefix })
    await Promise.all([asleep.read(['warm']), other.read(['warm'])])
    // The clock of Redis has gone on by so much more than its own.
    advance(-FILL_LIFE_MS - 100)
    await asleep.read(['a'])
    // Refused too, which tells that the clock has stood still.
    await load(asleep, 'b', 'b')
    await load(asleep, 'b', 'b')
    expect(await other.read(['b'])).toEqual(['b'])
    await asleep.fill([{ key: 'a', value: 'stale' }], 60)
    expect(await other.read(['a'])).toEqual([null])
  })

  test('an invalidation that was lost while the server hung leaves nothing stale to anybody', async () => {
    const prefix = newPrefix()
    const connection = await connect(redis.url)
    const first = createRedisCache(connection, { prefix })
    const second = createRedisCache(await connect(redis.url), { prefix })
    await Promise.all([first.read(['warm']), second.read(['warm'])])
    await load(first, 'a', 'old')
    expect(await second.read(['a'])).toEqual(['old'])
    redis.pause()
    const elapsed = await timed(() => first.invalidate(['a']))
    expect(elapsed).toBeLessThan(2000)
    redis.resume()
    expect(await first.read(['a'])).toEqual([null])
    await expect.poll(() => second.read(['a']), WAIT).toEqual([null])
  })

  test('an invalidation that was not even sent, because the server hung before, is made up for when it goes on', async () => {
    const prefix = newPrefix()
    const first = createRedisCache(await connect(redis.url), { prefix })
    const second = createRedisCache(await connect(redis.url), { prefix })
    await Promise.all([first.read(['warm']), second.read(['warm'])])
    await load(first, 'a', 'old')
    redis.pause()
    await first.invalidate(['b'])
    await first.invalidate(['a'])
    redis.resume()
    await redis.admin.ping()
    expect(await second.read(['a'])).toEqual([null])
  })

  test('an invalidation that the server refused leaves nothing stale to anybody', async () => {
    const prefix = newPrefix()
    const first = createRedisCache(await connect(redis.url), { prefix })
    const second = createRedisCache(await connect(redis.url), { prefix })
    await Promise.all([first.read(['warm']), second.read(['warm'])])
    await load(first, 'a', 'old')
    await redis.admin.config('SET', 'maxmemory', '1')
    await first.invalidate(['a'])
    expect(await first.read(['a'])).toEqual([null])
    expect(await second.read(['a'])).toEqual(['old'])
    await redis.admin.config('SET', 'maxmemory', '0')
    await expect.poll(() => second.read(['a']), WAIT).toEqual([null])
    expect(await first.read(['a'])).toEqual([null])
  })

  test('a lost invalidation reaches the others even when its process reads nothing', async () => {
    const prefix = newPrefix()
    const connection = await connect(redis.url)
    const first = createRedisCache(connection, { prefix })
    const second = createRedisCache(await connect(redis.url), { prefix })
    await Promise.all([first.read(['warm']), second.read(['warm'])])
    await load(second, 'a', 'old')
    // The first process alone loses its connection, at the moment of the invalidation.
    connection.client.disconnect(true)
    await first.invalidate(['a'])
    await expect.poll(() => second.read(['a']), { timeout: 5000, interval: 20 }).toEqual([null])
  })

  test('a server that comes back from an old snapshot revives nothing', async () => {
    const saving = await startRedis()
    const prefix = newPrefix()
    const first = createRedisCache(await connect(saving.url), { prefix })
    const second = createRedisCache(await connect(saving.url), { prefix })
    await Promise.all([first.read(['warm']), second.read(['warm'])])
    await load(first, 'a', 'old')
    expect(await second.read(['a'])).toEqual(['old'])
    await saving.admin.save()
    await first.invalidate(['a'])
    await saving.kill()
    await saving.start()
    expect(await saving.admin.exists(`${prefix}cache:a`)).toBe(1)
    const seen = new Set<string | null>()
    await expect
      .poll(async () => {
        for (const each of [first, second]) seen.add((await each.read(['a']))[0] ?? null)
        await load(first, 'b', 'new')
        return second.read(['b'])
      }, WAIT)
      .toEqual(['new'])
    for (const each of [first, second]) seen.add((await each.read(['a']))[0] ?? null)
    expect([...seen]).toEqual([null])
  })

  test('an emptied server is used again at once', async () => {
    const prefix = newPrefix()
    const cache = createRedisCache(await connect(redis.url), { prefix })
    await load(cache, 'a', '1')
    await redis.admin.del(`${prefix}cache-epoch`)
    expect(await cache.read(['a'])).toEqual([null])
    expect(await cache.read(['a'])).toEqual([null])
    await expect
      .poll(async () => {
        await load(cache, 'b', '2')
        return cache.read(['b'])
      }, WAIT)
      .toEqual(['2'])
  })

  test('without a server it reads as empty and never throws', async () => {
    const connection = begin(`redis://127.0.0.1:${await freePort()}`)
    const cache = createRedisCache(connection, { prefix: newPrefix() })
    await load(cache, 'a', '1')
    await cache.invalidate(['a'])
    expect(await cache.read(['a', 'b'])).toEqual([null, null])
  })
})

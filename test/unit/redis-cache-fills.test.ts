import { describe, expect, test } from 'vitest'
import type { RedisConnection } from '../../src/infra/redis.js'
import { createRedisCache } from '../../src/infra/redis-cache.js'
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

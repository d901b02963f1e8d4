import { beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import { createRedisBus } from '../../src/infra/redis-bus.js'
import { createRedisCache } from '../../src/infra/redis-cache.js'
import { createRedisRateLimitStore } from '../../src/infra/redis-rate-limits.js'
import { createConnections, newPrefix, timed, WAIT } from '../support/redis-connections.js'
import { freePort, hasRedis, type RedisServer, startRedis } from '../support/redis-server.js'

const startNode = async () => startRedis('--cluster-enabled', 'yes', '--cluster-port', `${await freePort()}`)
const nodes: RedisServer[] = hasRedis ? [await startNode(), await startNode()] : []
const { lines, log, connect, closing } = createConnections()

describe.skipIf(!hasRedis)('Redis Cluster', () => {
  beforeAll(async () => {
    const [first, second] = nodes.map(({ admin }) => admin)
    if (!first || !second) return
    await first.call('CLUSTER', 'ADDSLOTSRANGE', '0', '8191')
    await second.call('CLUSTER', 'ADDSLOTSRANGE', '8192', '16383')
    const [, busPort = ''] = (await second.config('GET', 'cluster-port')) as string[]
    await first.call('CLUSTER', 'MEET', '127.0.0.1', `${nodes[1]?.port}`, busPort)
    await vi.waitFor(async () => {
      for (const { admin } of nodes) expect(await admin.call('CLUSTER', 'INFO')).toContain('cluster_state:ok')
    }, WAIT)
  }, 20_000)
  const connectCluster = () => connect(...nodes.map(({ url }) => url))

  test('the cache reads, fills and invalidates keys of all nodes', async () => {
    const prefix = newPrefix()
    const first = createRedisCache(await connectCluster(), { prefix })
    const second = createRedisCache(await connectCluster(), { prefix })
    await Promise.all([first.read(['warm']), second.read(['warm'])])
    const keys = Array.from({ length: 20 }, (_, index) => `key ${index}`)
    await first.read(keys)
    await first.fill(
      keys.map((key) => ({ key, value: key })),
      60,
    )
    expect(await second.read(keys)).toEqual(keys)
    await second.invalidate(keys)
    expect(await first.read(keys)).toEqual(keys.map(() => null))
    for (const { admin } of nodes) expect(await admin.dbsize()).toBeGreaterThan(0)
  })

  test('limits are exact over two connections, and a refused call consumes nothing', async () => {
    const prefix = newPrefix()
    const fallback = { consume: () => Promise.reject(new Error('fell back')) }
    const stores = [
      createRedisRateLimitStore(await connectCluster(), fallback, { prefix }),
      createRedisRateLimitStore(await connectCluster(), fallback, { prefix }),
    ]
    const rule = { key: 'login', max: 5, windowMs: 60_000 }
    const verdicts = await Promise.all(Array.from({ length: 100 }, (_, index) => stores[index % 2]?.consume([rule])))
    expect(verdicts.filter((verdict) => verdict?.isAllowed)).toHaveLength(5)
    for (let index = 0; index < 8; index += 1) {
      const other = { key: `other ${index}`, max: 3, windowMs: 60_000 }
      expect(await stores[0]?.consume([other, rule])).toMatchObject({ isAllowed: false, limit: 5 })
      expect(await stores[0]?.consume([other])).toMatchObject({ isAllowed: true, remaining: 2 })
    }
  })

  test('the bus reaches the other process once', async () => {
    const prefix = newPrefix()
    const buses = [
      createRedisBus(await connectCluster(), { prefix, log }),
      createRedisBus(await connectCluster(), { prefix, log }),
    ]
    for (const bus of buses) closing(bus)
    const heard: string[] = []
    buses[1]?.subscribe('user', (message) => heard.push(message))
    await vi.waitFor(() => {
      buses[0]?.publish('user', 'hello')
      expect(heard.length).toBeGreaterThan(0)
    }, WAIT)
    heard.length = 0
    buses[0]?.publish('user', 'once')
    buses[0]?.publish('user', 'last')
    await vi.waitFor(() => expect(heard).toContain('last'), WAIT)
    expect(heard.filter((message) => message === 'once')).toHaveLength(1)
  })

  test('a node that cannot be reached is told of, and that the cluster goes on without it', async () => {
    const { client } = await connectCluster()
    client.emit('node error', new Error('connect ECONNREFUSED'))
    await vi.waitFor(() => expect(lines.at(-1)).toContain('Redis is reachable again'), WAIT)
  })

  test('nodes that no URL names are told the user and the password of the first one', async () => {
    const [first] = nodes
    const everybody = (state: 'on' | 'off') =>
      Promise.all(nodes.map(({ admin }) => admin.acl('SETUSER', 'default', state)))
    onTestFinished(async () => void (await everybody('on')))
    for (const { admin } of nodes) await admin.acl('SETUSER', 'app', 'on', '>p@ss', '~*', '&*', '+@all')
    await everybody('off')
    const url = `redis://app:p%40ss@127.0.0.1:${first?.port}`
    const connection = await connect(url, url)
    for (let index = 0; index < 20; index += 1) {
      const write = connection.run(
        (client) => client.set(`key ${index}`, ''),
        () => 'fallback',
        5000,
      )
      expect(await write).toBe('OK')
    }
  })

  test('a node that dies leaves the caller with the fallback, in bounded time', async () => {
    const connection = await connectCluster()
    const outages = connection.outages()
    await nodes[1]?.kill()
    const elapsed = await timed(async () => {
      for (let index = 0; index < 50; index += 1) {
        await connection.run(
          (client) => client.get(`key ${index}`),
          () => null,
        )
      }
    })
    expect(elapsed).toBeLessThan(5000)
    // What was written there may be lost.
    await expect.poll(() => connection.outages(), WAIT).toBeGreaterThan(outages)
  })
})

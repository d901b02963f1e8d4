import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { createMemoryRateLimitStore } from '../../src/infra/memory.js'
import { connectRedis, type RedisConnection } from '../../src/infra/redis.js'
import { createRedisBus } from '../../src/infra/redis-bus.js'
import { createRedisCache } from '../../src/infra/redis-cache.js'
import { createRedisRateLimitStore } from '../../src/infra/redis-rate-limits.js'

const SERVER = '/usr/bin/redis-server'
const CLI = '/usr/bin/redis-cli'
const WAIT = { timeout: 10_000, interval: 20 }

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const address = probe.address()
  probe.close()
  await once(probe, 'close')
  return typeof address === 'object' && address ? address.port : 0
}

/** A server of this file only, on a port that it keeps when it is started again. */
async function createServerProcess(...settings: string[]) {
  const port = await freePort()
  const directory = mkdtempSync(join(tmpdir(), 'portcullis-redis-'))
  let child: ChildProcess | null = null
  const ask = (...command: string[]) =>
    execFileSync(CLI, ['-p', String(port), ...command], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim()
  const start = async () => {
    const options = [
      '--port',
      String(port),
      '--bind',
      '127.0.0.1',
      '--dir',
      directory,
      '--save',
      '',
      '--appendonly',
      'no',
    ]
    child = spawn(SERVER, [...options, ...settings], { stdio: 'ignore' })
    await vi.waitFor(() => expect(ask('PING')).toBe('PONG'), WAIT)
  }
  const signal = (name: NodeJS.Signals) => void child?.kill(name)
  const kill = async () => {
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const ended = once(child, 'exit')
    child.kill('SIGKILL')
    await ended
  }
  const remove = async () => {
    await kill()
    rmSync(directory, { recursive: true, force: true })
  }
  return {
    port,
    url: `redis://127.0.0.1:${port}`,
    ask,
    start,
    kill,
    remove,
    pause: () => signal('SIGSTOP'),
    resume: () => signal('SIGCONT'),
  }
}

const lines: string[] = []
const write = (fields: object, message: string) => void lines.push(`${message} ${JSON.stringify(fields)}`)
const log = { debug: write, info: write, warn: write, error: write }

const open: { close(): Promise<void> | void }[] = []
const ready = (connection: RedisConnection) => expect.poll(() => connection.isReachable(), WAIT).toBe(true)
async function connect(...urls: string[]): Promise<RedisConnection> {
  const connection = connectRedis(urls, log)
  open.push(connection)
  await ready(connection)
  return connection
}
afterEach(async () => {
  for (const each of open.splice(0)) await each.close()
  lines.length = 0
})

let prefixes = 0
const newPrefix = () => {
  prefixes += 1
  return `test${prefixes}:`
}
const fakeClock = () => {
  let now = 1000
  return { clock: () => now, advance: (ms: number) => (now += ms) }
}
const load = async (cache: ReturnType<typeof createRedisCache>, key: string, value: string) => {
  await cache.read([key])
  await cache.fill([{ key, value }], 60)
}
const timed = async (work: () => Promise<unknown>) => {
  const start = performance.now()
  await work()
  return performance.now() - start
}

describe.skipIf(!existsSync(SERVER))('Redis', () => {
  let redis: Awaited<ReturnType<typeof createServerProcess>>
  let admin: Redis
  beforeAll(async () => {
    redis = await createServerProcess()
    await redis.start()
    admin = new Redis(redis.url, { retryStrategy: () => 50, maxRetriesPerRequest: null })
    admin.on('error', () => {})
  })
  afterAll(async () => {
    admin.disconnect()
    await redis.remove()
  })
  const countOf = async (command: string) => {
    const stats = await admin.info('commandstats')
    return Number(new RegExp(`cmdstat_${command}:calls=(\\d+)`).exec(stats)?.[1] ?? 0)
  }

  describe('connection', () => {
    test('nobody waits for a server that is not there, and its password is not logged', async () => {
      const connection = connectRedis([`redis://:s3cr3t@127.0.0.1:${await freePort()}`], log)
      open.push(connection)
      expect(
        await connection.run(
          async () => 'redis',
          () => 'fallback',
        ),
      ).toBe('fallback')
      expect(await connection.isReachable()).toBe(false)
      let attempts = 0
      connection.client.on('reconnecting', () => {
        attempts += 1
      })
      await vi.waitFor(() => expect(attempts).toBeGreaterThanOrEqual(3), WAIT)
      expect(lines).toHaveLength(1)
      expect(lines[0]).toContain('not reachable')
      expect(lines.join()).not.toContain('s3cr3t')
    })

    test('a server that hangs costs one timeout in half a second, not one for each call', async () => {
      const connection = await connect(redis.url)
      redis.pause()
      const ask = () =>
        connection.run(
          (client) => client.get('x'),
          () => 'fallback',
        )
      expect(await ask()).toBe('fallback')
      const elapsed = await timed(async () => {
        for (let call = 0; call < 200; call += 1) expect(await ask()).toBe('fallback')
      })
      expect(elapsed).toBeLessThan(1200)
      redis.resume()
      await expect.poll(ask, WAIT).toBeNull()
      expect(lines.filter((line) => line.includes('not reachable'))).toHaveLength(1)
      expect(lines.filter((line) => line.includes('reachable again'))).toHaveLength(1)
    })

    test('while a server hangs, a single one of many concurrent calls tries it', async () => {
      const connection = await connect(redis.url)
      redis.pause()
      let tries = 0
      const ask = () =>
        connection.run(
          (client) => {
            tries += 1
            return client.get('x')
          },
          () => 'fallback',
        )
      await ask()
      await vi.waitFor(async () => {
        await Promise.all(Array.from({ length: 50 }, ask))
        expect(tries).toBeGreaterThan(1)
      }, WAIT)
      expect(tries).toBe(2)
      redis.resume()
    })

    test('a server that was killed and started again is used again', async () => {
      const connection = await connect(redis.url)
      const reconnections = vi.fn()
      connection.onReconnect(reconnections)
      const outages = connection.outages()
      await redis.kill()
      await expect
        .poll(
          () =>
            connection.run(
              async () => 'redis',
              () => 'fallback',
            ),
          WAIT,
        )
        .toBe('fallback')
      expect(connection.outages()).toBeGreaterThan(outages)
      await redis.start()
      await ready(connection)
      expect(reconnections).toHaveBeenCalledOnce()
      expect(
        await connection.run(
          (client) => client.echo('back'),
          () => 'fallback',
        ),
      ).toBe('back')
    })

    test('a connection that stays silent is given up, and a new one is made', async () => {
      const connection = await connect(redis.url)
      const outages = connection.outages()
      redis.pause()
      await vi.waitFor(async () => {
        await connection.run(
          (client) => client.get('x'),
          () => null,
        )
        expect(connection.outages()).toBeGreaterThan(outages)
      }, WAIT)
      redis.resume()
      await ready(connection)
    })

    test('a refused command falls back without an outage', async () => {
      const connection = await connect(redis.url)
      const prefix = newPrefix()
      await admin.set(`${prefix}text`, 'x')
      const wrong = () =>
        connection.run(
          (client) => client.llen(`${prefix}text`),
          () => -1,
        )
      expect([await wrong(), await wrong()]).toEqual([-1, -1])
      expect(
        await connection.run(
          (client) => client.get(`${prefix}text`),
          () => null,
        ),
      ).toBe('x')
      expect(lines.filter((line) => line.includes('refused'))).toHaveLength(1)
    })

    test('a closed connection only falls back', async () => {
      const connection = await connect(redis.url)
      await connection.close()
      expect(
        await connection.run(
          (client) => client.ping(),
          () => 'fallback',
        ),
      ).toBe('fallback')
    })
  })

  describe('rate limits', () => {
    const storeOf = async (prefix: string, fallback = createMemoryRateLimitStore()) =>
      createRedisRateLimitStore(await connect(redis.url), fallback, { prefix })

    test('200 concurrent calls over two connections against a limit of 5 pass exactly 5 times', async () => {
      const prefix = newPrefix()
      const stores = [await storeOf(prefix), await storeOf(prefix)]
      const rule = { key: 'login', max: 5, windowMs: 60_000 }
      const calls = Array.from({ length: 200 }, (_, index) => stores[index % 2]?.consume([rule]))
      const verdicts = await Promise.all(calls)
      expect(verdicts.filter((verdict) => verdict?.isAllowed)).toHaveLength(5)
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

    test('one call is one command, and what it leaves expires', async () => {
      const prefix = newPrefix()
      const store = await storeOf(prefix)
      const rules = [
        { key: 'x'.repeat(100_000), max: 5, windowMs: 60_000 },
        { key: 'y', max: 5, windowMs: 30_000 },
      ]
      await store.consume(rules)
      const before = await countOf('evalsha')
      await store.consume(rules)
      expect((await countOf('evalsha')) - before).toBe(1)
      const keys = await admin.keys(`${prefix}*`)
      expect(keys).toHaveLength(2)
      for (const key of keys) {
        expect(key.length).toBeLessThan(100)
        expect(await admin.pttl(key)).toBeGreaterThan(0)
        expect(await admin.zcard(key)).toBe(2)
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
        expect(await admin.keys(`${prefix}*`)).toHaveLength(1)
      }, WAIT)
    })
  })

  describe('cache', () => {
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
      expect(await admin.ttl(`${prefix}cache:a`)).toBeGreaterThan(50)
      expect(await first.read([])).toEqual([])
    })

    test('a batch of reads is one command', async () => {
      const cache = createRedisCache(await connect(redis.url), { prefix: newPrefix() })
      await cache.read(['warm'])
      const [gets, mgets] = [await countOf('get'), await countOf('mget')]
      await cache.read(Array.from({ length: 50 }, (_, index) => `key ${index}`))
      expect([(await countOf('get')) - gets, (await countOf('mget')) - mgets]).toEqual([0, 1])
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
      expect(await admin.pttl(`${prefix}cache:a`)).toBeGreaterThan(3000)
    })

    test('a fill that comes after the tombstone has gone is dropped', async () => {
      const prefix = newPrefix()
      const time = fakeClock()
      const slow = createRedisCache(await connect(redis.url), { prefix, clock: time.clock })
      const other = createRedisCache(await connect(redis.url), { prefix })
      await Promise.all([slow.read(['warm']), other.read(['warm'])])
      await slow.read(['a'])
      await other.invalidate(['a'])
      await admin.del(`${prefix}cache:a`)
      time.advance(6000)
      await slow.read(['a'])
      await slow.fill([{ key: 'a', value: 'stale' }], 60)
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

    test('an invalidation that the server refused leaves nothing stale to anybody', async () => {
      const prefix = newPrefix()
      const first = createRedisCache(await connect(redis.url), { prefix })
      const second = createRedisCache(await connect(redis.url), { prefix })
      await Promise.all([first.read(['warm']), second.read(['warm'])])
      await load(first, 'a', 'old')
      await admin.config('SET', 'maxmemory', '1')
      await first.invalidate(['a'])
      expect(await first.read(['a'])).toEqual([null])
      expect(await second.read(['a'])).toEqual(['old'])
      await admin.config('SET', 'maxmemory', '0')
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
      const saving = await createServerProcess()
      try {
        await saving.start()
        const prefix = newPrefix()
        const first = createRedisCache(await connect(saving.url), { prefix })
        const second = createRedisCache(await connect(saving.url), { prefix })
        await Promise.all([first.read(['warm']), second.read(['warm'])])
        await load(first, 'a', 'old')
        expect(await second.read(['a'])).toEqual(['old'])
        saving.ask('SAVE')
        await first.invalidate(['a'])
        await saving.kill()
        await saving.start()
        expect(saving.ask('EXISTS', `${prefix}cache:a`)).toBe('1')
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
      } finally {
        await saving.remove()
      }
    })

    test('an emptied server is used again at once', async () => {
      const prefix = newPrefix()
      const cache = createRedisCache(await connect(redis.url), { prefix })
      await load(cache, 'a', '1')
      await admin.del(`${prefix}cache-epoch`)
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
      const connection = connectRedis([`redis://127.0.0.1:${await freePort()}`], log)
      open.push(connection)
      const cache = createRedisCache(connection, { prefix: newPrefix() })
      await load(cache, 'a', '1')
      await cache.invalidate(['a'])
      expect(await cache.read(['a', 'b'])).toEqual([null, null])
    })
  })

  describe('bus', () => {
    const busOf = async (prefix: string) => {
      const bus = createRedisBus(await connect(redis.url), { prefix, log })
      open.unshift(bus)
      return bus
    }
    const subscribers = async (channel: string) => Number((await admin.pubsub('NUMSUB', channel))[1])

    test('a message is delivered once in each process, and at once in its own', async () => {
      const prefix = newPrefix()
      const [first, second] = [await busOf(prefix), await busOf(prefix)]
      const heard: string[] = []
      first.subscribe('user', (message) => heard.push(`first ${message}`))
      const end = second.subscribe('user', (message) => heard.push(`second ${message}`))
      second.subscribe('other', (message) => heard.push(`other ${message}`))
      await expect.poll(() => subscribers(`${prefix}bus:user`), WAIT).toBe(2)
      first.publish('user', '1')
      expect(heard).toEqual(['first 1'])
      await vi.waitFor(() => expect(heard).toContain('second 1'), WAIT)
      second.publish('user', '2')
      await vi.waitFor(() => expect(heard).toContain('first 2'), WAIT)
      // Whatever would come twice comes before the answer to this.
      first.publish('user', '3')
      await vi.waitFor(() => expect(heard).toContain('second 3'), WAIT)
      expect([...heard].sort()).toEqual(['first 1', 'first 2', 'first 3', 'second 1', 'second 2', 'second 3'])
      end()
      await expect.poll(() => subscribers(`${prefix}bus:user`), WAIT).toBe(1)
    })

    test('subscriptions survive a restart of the server, and local delivery goes on without it', async () => {
      const prefix = newPrefix()
      const [first, second] = [await busOf(prefix), await busOf(prefix)]
      const heard: string[] = []
      first.subscribe('user', (message) => heard.push(`first ${message}`))
      second.subscribe('user', (message) => heard.push(`second ${message}`))
      await expect.poll(() => subscribers(`${prefix}bus:user`), WAIT).toBe(2)
      await redis.kill()
      first.publish('user', 'alone')
      expect(heard).toEqual(['first alone'])
      second.subscribe('late', (message) => heard.push(`late ${message}`))
      await redis.start()
      await expect.poll(() => subscribers(`${prefix}bus:user`), WAIT).toBe(2)
      await expect.poll(() => subscribers(`${prefix}bus:late`), WAIT).toBe(1)
      await vi.waitFor(() => {
        first.publish('late', 'again')
        expect(heard).toContain('late again')
      }, WAIT)
    })
  })

  describe('cluster', () => {
    const nodes: Awaited<ReturnType<typeof createServerProcess>>[] = []
    beforeAll(async () => {
      for (const _ of [0, 1]) {
        const port = await freePort()
        const node = await createServerProcess('--cluster-enabled', 'yes', '--cluster-port', String(port))
        nodes.push(node)
        await node.start()
      }
      const [first, second] = nodes
      if (!first || !second) return
      first.ask('CLUSTER', 'ADDSLOTSRANGE', '0', '8191')
      second.ask('CLUSTER', 'ADDSLOTSRANGE', '8192', '16383')
      const busPort = second.ask('CONFIG', 'GET', 'cluster-port').split('\n')[1] ?? ''
      first.ask('CLUSTER', 'MEET', '127.0.0.1', String(second.port), busPort)
      await vi.waitFor(() => {
        for (const node of nodes) expect(node.ask('CLUSTER', 'INFO')).toContain('cluster_state:ok')
      }, WAIT)
    }, 20_000)
    afterAll(async () => {
      for (const node of nodes) await node.remove()
    })
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
      for (const node of nodes) expect(Number(node.ask('DBSIZE'))).toBeGreaterThan(0)
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
      open.unshift(...buses)
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

    test('a node that dies leaves the caller with the fallback, in bounded time', async () => {
      const connection = await connectCluster()
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
    })
  })
})

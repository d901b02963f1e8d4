import { EventEmitter } from 'node:events'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import type { RedisConnection } from '../../src/infra/redis.js'
import { createRedisBus } from '../../src/infra/redis-bus.js'
import { countOf, createConnections, newPrefix, redisOfFile, WAIT } from '../support/redis-connections.js'
import { hasRedis } from '../support/redis-server.js'
import { startTcpProxy } from '../support/tcp-proxy.js'

const redis = await redisOfFile()
const { log, connect, closing } = createConnections()

describe.skipIf(!hasRedis)('The event bus over Redis', () => {
  const busOf = async (prefix: string) => {
    return closing(createRedisBus(await connect(redis.url), { prefix, log }))
  }
  const subscribers = async (channel: string) => Number((await redis.admin.pubsub('NUMSUB', channel))[1])

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

  test('what several follow in one process is asked for once', async () => {
    const prefix = newPrefix()
    const bus = await busOf(prefix)
    bus.subscribe('other', () => {})
    await expect.poll(() => subscribers(`${prefix}bus:other`), WAIT).toBe(1)
    const before = await countOf(redis, 'subscribe')
    for (let time = 0; time < 10; time += 1) bus.subscribe('user', () => {})
    bus.subscribe('last', () => {})
    await expect.poll(() => subscribers(`${prefix}bus:last`), WAIT).toBe(1)
    expect((await countOf(redis, 'subscribe')) - before).toBe(2)
  })

  test('who ends, also twice, takes the messages of other processes from nobody else', async () => {
    const prefix = newPrefix()
    const [first, second] = [await busOf(prefix), await busOf(prefix)]
    const heard: string[] = []
    const end = first.subscribe('user', () => {})
    first.subscribe('user', (message) => heard.push(message))
    end()
    end()
    await expect.poll(() => subscribers(`${prefix}bus:user`), WAIT).toBe(1)
    second.publish('user', '1')
    await vi.waitFor(() => expect(heard).toEqual(['1']), WAIT)
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

  test('a connection that goes silent is noticed by whoever only listens, and replaced', async () => {
    const { hostname, port, pathname } = new URL(redis.url)
    const proxy = await startTcpProxy({ host: hostname, port: Number(port) })
    const prefix = newPrefix()
    const through = await connect(`redis://127.0.0.1:${proxy.port}${pathname}`)
    const [listener, speaker] = [closing(createRedisBus(through, { prefix, log })), await busOf(prefix)]
    const heard: string[] = []
    listener.subscribe('user', (message) => heard.push(message))
    await expect.poll(() => subscribers(`${prefix}bus:user`), WAIT).toBe(1)
    proxy.silence()
    speaker.publish('user', 'lost')
    await vi.waitFor(
      () => {
        speaker.publish('user', 'again')
        expect(heard).toContain('again')
      },
      { timeout: 30_000, interval: 100 },
    )
    expect(heard).not.toContain('lost')
  })
})

describe('The connection on which the event bus listens', () => {
  function createFake(isCluster = false) {
    vi.useFakeTimers()
    onTestFinished(() => void vi.useRealTimers())
    const subscriber = Object.assign(new EventEmitter(), {
      status: 'ready',
      subscribe: vi.fn(async () => 1),
      unsubscribe: async () => 0,
      ping: vi.fn(async () => 'PONG'),
      disconnect: vi.fn(),
    })
    const connection = { isCluster, duplicate: () => subscriber, run: async () => 0 } as never as RedisConnection
    const bus = createRedisBus(connection, { prefix: '', log })
    onTestFinished(bus.close)
    return { bus, subscriber }
  }

  test('is asked for nothing while nobody follows anything', async () => {
    const { bus, subscriber } = createFake()
    subscriber.emit('ready')
    bus.subscribe('user', () => {})()
    subscriber.emit('ready')
    expect(subscriber.subscribe.mock.calls).toEqual([['bus:user']])
  })

  test('is asked again for what it has refused, until it gives it', async () => {
    const { bus, subscriber } = createFake()
    for (let time = 0; time < 3; time += 1) subscriber.subscribe.mockRejectedValueOnce(new Error('NOPERM'))
    bus.subscribe('user', () => {})
    await vi.advanceTimersByTimeAsync(10_000)
    expect(subscriber.subscribe.mock.calls).toEqual(Array.from({ length: 4 }, () => ['bus:user']))
  })

  test.each([
    ['is given up when it does not answer', 'ready', false, [[true]]],
    ['is not given up while it is made', 'connecting', false, []],
    ['is not given up where a cluster looks after it', 'ready', true, []],
  ])('%s', async (_, status, isCluster, expected) => {
    const { subscriber } = createFake(isCluster)
    Object.assign(subscriber, { status }).ping.mockRejectedValue(new Error('Command timed out'))
    await vi.advanceTimersByTimeAsync(10_000)
    expect(subscriber.ping).toHaveBeenCalled()
    expect(subscriber.disconnect.mock.calls).toEqual(expected)
  })
})

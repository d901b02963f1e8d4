import { describe, expect, test, vi } from 'vitest'
import { createRedisBus } from '../../src/infra/redis-bus.js'
import { createConnections, newPrefix, redisOfFile, WAIT } from '../support/redis-connections.js'
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

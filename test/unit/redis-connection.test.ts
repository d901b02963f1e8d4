import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { loadConfig } from '../../src/config.js'
import type { RedisClient } from '../../src/infra/redis-client.js'
import { createConnections, newPrefix, ready, redisOfFile, timed, WAIT } from '../support/redis-connections.js'
import { freePort, hasRedis } from '../support/redis-server.js'

/** Of a record of TLS. */
const HANDSHAKE = 22

const redis = await redisOfFile()
const { lines, begin, connect } = createConnections()

describe.skipIf(!hasRedis)('The connection to Redis', () => {
  test('nobody waits for a server that is not there, and its password is not logged', async () => {
    const connection = begin(`redis://:s3cr3t@127.0.0.1:${await freePort()}`)
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

  test('an answer that was there while this process was busy is taken, and is no outage', async () => {
    const connection = await connect(redis.url)
    const asking = connection.run(
      (client) => client.get('x'),
      () => 'fallback',
    )
    const until = performance.now() + 600
    while (performance.now() < until);
    expect(await asking).toBeNull()
    expect(lines.filter((line) => line.includes('not reachable'))).toEqual([])
  })

  test('whoever is more patient than those who gave up waits for the answer', async () => {
    const connection = await connect(redis.url)
    const ask = (patienceMs?: number) =>
      connection.run(
        (client) => client.get('x'),
        () => 'fallback',
        patienceMs,
      )
    redis.pause()
    expect(await ask()).toBe('fallback')
    const patient = ask(5000)
    // Its turn has not come: it does not even ask.
    expect(await ask()).toBe('fallback')
    redis.resume()
    expect(await patient).toBeNull()
  })

  test('whoever has waited in vain, too, is back with the first answer that comes in time for him', async () => {
    const connection = await connect(redis.url)
    const askSlowly = () =>
      connection.run<unknown>(
        (client) => client.blpop('nothing', 0.3),
        () => 'fallback',
        1000,
      )
    redis.pause()
    expect(await askSlowly()).toBe('fallback')
    redis.resume()
    await expect.poll(askSlowly, WAIT).toBeNull()
    expect(await Promise.all([askSlowly(), askSlowly()])).toEqual([null, null])
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
    await redis.admin.set(`${prefix}text`, 'x')
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
    const ping = vi.fn((client: RedisClient) => client.ping())
    expect(await connection.run(ping, () => 'fallback')).toBe('fallback')
    expect(ping).not.toHaveBeenCalled()
  })

  test('a server that has no memory for more is not reachable until it has', async () => {
    const connection = await connect(redis.url)
    await redis.admin.config('SET', 'maxmemory', '1')
    expect(await connection.isReachable()).toBe(false)
    expect(lines.join()).toContain('refused a command')
    await redis.admin.client('KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
    await vi.waitFor(() => expect(lines.join()).toContain('not reachable'), WAIT)
    await vi.waitFor(() => expect(connection.client.status).toBe('ready'), WAIT)
    const read = connection.run(
      (client) => client.echo('here'),
      () => 'fallback',
      5000,
    )
    expect(await read).toBe('here')
    expect(lines.join()).not.toContain('reachable again')
    await redis.admin.config('SET', 'maxmemory', '0')
    await vi.waitFor(() => expect(lines.join()).toContain('reachable again'), WAIT)
    await ready(connection)
  })

  test('a replica that stays one is left now and then, not with each command, and told of once', async () => {
    const connection = await connect(redis.url)
    const attempts = vi.fn()
    connection.client.on('connect', attempts)
    await redis.admin.replicaof('127.0.0.1', '1')
    expect(await connection.isReachable()).toBe(false)
    await vi.waitFor(() => expect(attempts).toHaveBeenCalled(), WAIT)
    await vi.waitFor(() => expect(connection.client.status).toBe('ready'), WAIT)
    for (let time = 0; time < 5; time += 1) {
      expect(await connection.isReachable()).toBe(false)
      // Over the same connection.
      expect(await connection.client.echo('here')).toBe('here')
    }
    expect(attempts).toHaveBeenCalledOnce()
    expect(lines.length).toBeLessThan(4)
    await redis.admin.replicaof('NO', 'ONE')
    await ready(connection)
  })
})

test.each(['rediss', 'REDISS'])('%s: begins with a TLS handshake, and sends nothing in plain text', async (scheme) => {
  const server = createServer().listen(0, '127.0.0.1')
  onTestFinished(() => void server.close())
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const { redisUrls = [] } = loadConfig({ REDIS_URL: `${scheme}://:s3cr3t@127.0.0.1:${port}` })
  const connected = once(server, 'connection') as Promise<[Socket]>
  begin(...redisUrls)
  const [socket] = await connected
  const [bytes] = (await once(socket, 'data')) as [Buffer]
  socket.destroy()
  expect(bytes[0]).toBe(HANDSHAKE)
})

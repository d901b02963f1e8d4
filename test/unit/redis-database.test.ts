import { describe, expect, test, vi } from 'vitest'
import { createConnections, newPrefix, redisOfFile, WAIT } from '../support/redis-connections.js'
import { hasRedis } from '../support/redis-server.js'

const redis = await redisOfFile()
const { lines, begin, connect } = createConnections()

describe.skipIf(!hasRedis)('The database of REDIS_URL', () => {
  test('a server without the database of the URL is none: nothing goes to another one, and it is told once', async () => {
    const connection = begin(`${redis.url}/99`)
    const isReady = vi.fn()
    connection.onReconnect(isReady)
    connection.duplicate().on('ready', isReady)
    const attempts = vi.fn()
    connection.client.on('connect', attempts)
    const key = `${newPrefix()}lost`
    await vi.waitFor(async () => {
      const write = connection.run(
        (client) => client.set(key, 'x'),
        () => 'fallback',
      )
      expect(await write).toBe('fallback')
      expect(await connection.isReachable()).toBe(false)
      expect(attempts.mock.calls.length).toBeGreaterThan(2)
    }, WAIT)
    expect(await redis.admin.exists(key)).toBe(0)
    expect(isReady).not.toHaveBeenCalled()
    expect(lines).toHaveLength(1)
    expect(lines[0]).toContain('not reachable')
    expect(lines[0]).toContain('the database of REDIS_URL is refused: ERR DB index is out of range')
  })

  test('a server that refuses the database later is left at the next connection, until it gives it again', async () => {
    const connection = await connect(`${redis.url}/5`)
    const key = `${newPrefix()}kept`
    const write = () =>
      connection.run(
        (client) => client.set(key, 'x'),
        () => 'fallback',
      )
    expect(await write()).toBe('OK')
    await redis.admin.acl('SETUSER', 'default', '-select')
    await redis.admin.client('KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
    await vi.waitFor(() => expect(lines.join()).toContain('not reachable'), WAIT)
    const attempts = vi.fn()
    connection.client.on('connect', attempts)
    await vi.waitFor(async () => {
      expect(await write()).toBe('fallback')
      expect(attempts.mock.calls.length).toBeGreaterThan(2)
    }, WAIT)
    expect(await redis.admin.exists(key)).toBe(0)
    await redis.admin.acl('SETUSER', 'default', '+select')
    await expect.poll(write, WAIT).toBe('OK')
    expect(await redis.admin.exists(key)).toBe(0)
  })
})

import { describe, expect, test, vi } from 'vitest'
import type { RedisConnection } from '../../src/infra/redis.js'
import { createConnections, redisOfFile, WAIT } from '../support/redis-connections.js'
import { hasRedis } from '../support/redis-server.js'

const redis = await redisOfFile()
const { lines, connect } = createConnections()

/** `ask` counts who asks in earnest; `askSlowly`: an answer takes longer than a command may that is in a hurry. */
function callersOf(connection: RedisConnection) {
  let tries = 0
  const trying = (seconds: number) => (patienceMs?: number) =>
    connection.run<unknown>(
      (client) => {
        tries += 1
        return seconds > 0 ? client.blpop('nothing', seconds) : client.get('x')
      },
      () => 'fallback',
      patienceMs,
    )
  return { tries: () => tries, ask: trying(0), askSlowly: trying(0.3) }
}

describe.skipIf(!hasRedis)('Patience with Redis', () => {
  test('whether a server that hangs takes writes is known before the patient give up, and is no refusal', async () => {
    const connection = await connect(redis.url)
    redis.pause()
    const answers: string[] = []
    await Promise.all([
      connection.run<unknown>(
        (client) => client.get('x'),
        () => answers.push('fallback'),
        1000,
      ),
      connection.isReachable().then((isReachable) => answers.push(`reachable: ${isReachable}`)),
    ])
    redis.resume()
    expect(answers).toEqual(['reachable: false', 'fallback'])
    expect(lines.join()).not.toContain('refused')
  })

  test('an answer that comes too late for those in a hurry does not bring them back', async () => {
    const { ask, askSlowly, tries } = callersOf(await connect(redis.url))
    expect(await askSlowly()).toBe('fallback')
    expect(await askSlowly(10_000)).toBeNull()
    const before = tries()
    await Promise.all([ask(), ask()])
    expect(tries() - before).toBeLessThan(2)
  })

  test('a server that is slow, but answers whoever waits, keeps its connection', async () => {
    const connection = await connect(redis.url)
    const outages = connection.outages()
    const { askSlowly } = callersOf(connection)
    expect(await askSlowly()).toBe('fallback')
    // For longer than one that is silent is given.
    for (let time = 0; time < 8; time += 1) expect(await askSlowly(10_000)).toBeNull()
    expect(await askSlowly()).toBe('fallback')
    expect(await askSlowly(10_000)).toBeNull()
    expect(connection.outages()).toBe(outages)
  })

  test('a new connection brings back all who have given up at once', async () => {
    const connection = await connect(redis.url)
    const { ask } = callersOf(connection)
    redis.pause()
    expect(await ask()).toBe('fallback')
    redis.resume()
    const isBack = new Promise<void>((resolve) => connection.onReconnect(resolve))
    connection.client.disconnect(true)
    await isBack
    expect(await Promise.all([ask(), ask(), ask()])).toEqual([null, null, null])
  })

  test('whoever closes the connection is told of no outage, nor are those who wait for an answer', async () => {
    const connection = await connect(redis.url)
    const copy = connection.duplicate()
    const waiting = callersOf(connection).askSlowly(10_000)
    await connection.close()
    expect(await waiting).toBe('fallback')
    await vi.waitFor(() => expect([connection.client.status, copy.status]).toEqual(['end', 'end']), WAIT)
    expect(lines).toEqual([])
  })
})

import { afterEach, expect } from 'vitest'
import { connectRedis, type RedisConnection } from '../../src/infra/redis.js'
import { hasRedis, type RedisServer, startRedis } from './redis-server.js'

export const WAIT = { timeout: 30_000, interval: 20 }

/** A Redis of this file, or none to speak of where the machine has none: its tests are skipped then. */
export const redisOfFile = async () => (hasRedis ? await startRedis() : null) as RedisServer

export const ready = (connection: RedisConnection) => expect.poll(() => connection.isReachable(), WAIT).toBe(true)

/** How often a server has executed a command. */
export async function countOf({ admin }: RedisServer, command: string): Promise<number> {
  const stats = await admin.info('commandstats')
  return Number(new RegExp(`cmdstat_${command}:calls=(\\d+)`).exec(stats)?.[1] ?? 0)
}

/** How many milliseconds the work takes. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now()
  await work()
  return performance.now() - start
}

let prefixes = 0
export const newPrefix = () => {
  prefixes += 1
  return `test${prefixes}:`
}

/** Connections as the server makes them, which end with each test, and what they have logged. */
export function createConnections() {
  const lines: string[] = []
  const write = (fields: object, message: string) => void lines.push(`${message} ${JSON.stringify(fields)}`)
  const log = { debug: write, info: write, warn: write, error: write }
  const open: { close(): Promise<void> | void }[] = []
  afterEach(async () => {
    for (const each of open.splice(0)) await each.close()
    lines.length = 0
  })

  /** Does not wait until the server is reached. */
  function begin(...urls: string[]): RedisConnection {
    const connection = connectRedis(urls, log)
    open.push(connection)
    return connection
  }
  async function connect(...urls: string[]): Promise<RedisConnection> {
    const connection = begin(...urls)
    await ready(connection)
    return connection
  }
  return {
    ...{ lines, log, begin, connect },
    /** Closes these too, before the connections on which they stand. */
    closing<Each extends { close(): Promise<void> | void }>(each: Each): Each {
      open.unshift(each)
      return each
    },
  }
}

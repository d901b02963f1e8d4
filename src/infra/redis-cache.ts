import { randomBytes } from 'node:crypto'
import DataLoader from 'dataloader'
import { shared } from '../batches.js'
import type { Cache } from '../ports.js'
import { createMissLedger, FILL_LIFE_MS, TOMBSTONE_MS } from './miss-ledger.js'
import { createScript, type RedisConnection, together } from './redis.js'
import type { RedisClient } from './redis-client.js'

export interface RedisCacheOptions {
  /** Starts the name of every key. */
  prefix: string
  onRead?: (hits: number, misses: number) => void
  /** Milliseconds, for the age of misses; monotonic by default. */
  clock?: () => number
}

interface Fetched {
  current: string | null
  values: (string | null)[]
}

const TOMBSTONE = '-'
const RENEW_RETRY_MS = 250
const newEpoch = () => randomBytes(16).toString('base64url')

// `SET NX`, except that an entry of another epoch is in nobody's way, and not too late. Says when it was executed.
const FILL = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local current = redis.call('GET', KEYS[1])
if current and (current == '${TOMBSTONE}' or string.sub(current, 1, #ARGV[1]) == ARGV[1]) then return now end
if now <= tonumber(ARGV[4]) then redis.call('SET', KEYS[1], ARGV[1] .. ARGV[2], 'EX', ARGV[3]) end
return now`
const fillScript = createScript(FILL)

/**
 * Keeps the epoch: a random value in Redis that every entry carries, and that is read together with the entries.
 * A write of an unknown fate (an outage, a timeout) is followed by a new epoch before anything is read again, so
 * that what an invalidation may have missed, or an old snapshot may have brought back, is not believed.
 */
function createEpoch(connection: RedisConnection, key: string, heard: (now: number) => void) {
  let failures = 1
  let renewed = 0
  let timer: NodeJS.Timeout | undefined
  const doubts = () => failures + connection.outages()
  const isTrusted = () => renewed === doubts()

  const renew = shared(async () => {
    const target = doubts()
    const isDone = await connection.run(
      async (client) => {
        const [reply, [seconds, micros]] = await Promise.all([client.set(key, newEpoch()), client.time()])
        heard(Number(seconds) * 1000 + Math.floor(Number(micros) / 1000))
        return reply === 'OK'
      },
      () => false,
    )
    if (isDone) renewed = target
    return isTrusted()
  })

  // Without waiting for a read: other processes go on believing the old entries until then.
  const renewSoon = async () => {
    clearTimeout(timer)
    if (isTrusted() || (await renew())) return
    clearTimeout(timer)
    timer = setTimeout(renewSoon, RENEW_RETRY_MS).unref()
  }
  connection.onReconnect(() => void renewSoon())

  // Past the pause that follows a failure: a server that is only slow reads this before anything that is asked later.
  const renewUnconfirmed = () => {
    if (connection.client.status === 'ready') connection.client.set(key, newEpoch()).catch(() => {})
  }

  return {
    ensureTrusted: async () => isTrusted() || renew(),
    distrust: () => {
      failures += 1
      renewUnconfirmed()
      void renewSoon()
    },
    plant: () =>
      connection.run<unknown>(
        (client) => client.set(key, newEpoch(), 'NX'),
        () => null,
      ),
  }
}

// Keys of a cluster live on several nodes, where MGET would be refused; the client sends these in one batch per node.
const readTogether = (client: RedisClient, isCluster: boolean, keys: string[]): Promise<(string | null)[]> =>
  isCluster ? Promise.all(keys.map((key) => client.get(key))) : client.mget(keys)

/**
 * The cache that all processes share. Reads as empty while Redis is away, and never throws.
 * A fill counts only when a read of that key missed within the last two seconds, not within five seconds of an
 * invalidation, and when it arrives in time: who has sent it may be gone by then, and renew no epoch.
 * An invalidation that Redis did not confirm empties the whole cache as soon as Redis is back.
 */
export function createRedisCache(connection: RedisConnection, options: RedisCacheOptions): Cache {
  const { prefix, onRead, clock = () => performance.now() } = options
  const epochKey = `${prefix}cache-epoch`
  const entryKey = (key: string) => `${prefix}cache:${key}`
  /** How far its clock is ahead of ours, at least. */
  let ahead = 0
  const heard = (now: number) => {
    ahead = now - clock()
  }
  const epoch = createEpoch(connection, epochKey, heard)
  const misses = createMissLedger(clock)

  /** The entries of the current epoch, for each list of keys. */
  const fetch = async (lists: readonly (readonly string[])[]): Promise<Fetched[]> => {
    const keys = lists.flat()
    const nothing = lists.map((list) => ({ current: null, values: list.map(() => null) }))
    if (!(await epoch.ensureTrusted())) return nothing
    const names = [epochKey, ...keys.map(entryKey)]
    const reply = await connection.run<(string | null)[] | null>(
      (client) => readTogether(client, connection.isCluster, names),
      () => null,
    )
    if (!reply) return nothing
    const [current, ...stored] = reply
    if (!current) {
      await epoch.plant()
      return nothing
    }
    const values = stored.map((value) => (value?.startsWith(current) ? value.slice(current.length) : null))
    return lists.map(({ length }) => ({ current, values: values.splice(0, length) }))
  }
  const fetcher = new DataLoader(fetch, together())

  const read = async (keys: readonly string[]) => {
    if (keys.length === 0) return []
    const startedAt = clock()
    const { current, values } = await fetcher.load(keys)
    // Also those that Redis did not answer: see the ledger.
    for (const [index, key] of keys.entries()) if (values[index] === null) misses.note(key, startedAt, current, ahead)
    const missed = values.filter((value) => value === null).length
    onRead?.(keys.length - missed, missed)
    return values
  }

  const fill = async (entries: readonly { key: string; value: string }[], ttlSeconds: number) => {
    const fills = entries.flatMap(({ key, value }) => {
      const miss = misses.take(key)
      if (!miss) return []
      const until = Math.floor(miss.since + FILL_LIFE_MS)
      return [{ key: entryKey(key), values: [miss.generation, value, ttlSeconds, until] }]
    })
    if (fills.length === 0) return
    let isSent = false
    await connection.run<unknown>(
      async (client) => {
        isSent = true
        const times = await Promise.all(fills.map(({ key, values }) => fillScript(client, [key], values)))
        heard(Math.min(...times.map(Number)))
      },
      // It may still arrive, after a tombstone that would have stopped it.
      () => isSent && epoch.distrust(),
    )
  }

  const bury = async (client: RedisClient, keys: readonly string[]) => {
    const pipeline = client.pipeline()
    for (const key of keys) pipeline.set(entryKey(key), TOMBSTONE, 'PX', TOMBSTONE_MS)
    for (const [error] of (await pipeline.exec()) ?? []) if (error) throw error
  }
  const invalidator = new DataLoader<string, null>(async (keys) => {
    await connection.run<unknown>(
      (client) => (connection.isCluster ? Promise.all(keys.map((key) => bury(client, [key]))) : bury(client, keys)),
      () => epoch.distrust(),
    )
    return keys.map(() => null)
  }, together())
  const invalidate = async (keys: readonly string[]) => void (await invalidator.loadMany(keys))

  return { read, fill, invalidate }
}

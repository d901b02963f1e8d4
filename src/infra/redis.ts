import { createHash } from 'node:crypto'
import { Cluster, Redis } from 'ioredis'
import { inBatches } from '../batches.js'
import type { Log } from '../ports.js'
import { createRedisClient, isDatabaseRefused, type RedisClient, SILENCE_TIMEOUT_MS } from './redis-client.js'

/** A Redis that may be away at any time. Only `run` should be used for commands of requests. */
export interface RedisConnection {
  readonly client: RedisClient
  readonly isCluster: boolean
  /** Whether it takes a write: the answer for `/health`. */
  isReachable(): Promise<boolean>
  /**
   * Runs the command, or the fallback when Redis is away, slower than `patienceMs` (250) or was so in the last half second.
   * After a failure the command may or may not have been executed, now or later.
   */
  run<T>(command: (client: RedisClient) => Promise<T>, fallback: () => T | Promise<T>, patienceMs?: number): Promise<T>
  /** How many connections were lost so far: when the number has changed, writes may be lost. */
  outages(): number
  /** Calls the listener whenever a connection becomes usable, the first one included. */
  onReconnect(listener: () => void): void
  /** A second connection with the same settings, for subscriptions; `close` closes it too. */
  duplicate(): RedisClient
  close(): Promise<void>
}

/**
 * What many requests ask Redis for at about the same time is asked with one command: each command costs this process far
 * more than each key. The client's own pipelining would send as many commands as there are requests, and one turn of the
 * event loop later.
 */
export const together = () => inBatches(10)

const COMMAND_TIMEOUT_MS = 250
const PAUSE_AFTER_FAILURE_MS = 500
const CONFIRM_MS = 1000
const PROBE_KEY = 'portcullis:health'

/**
 * Rejects when the work takes longer than a command may. Also covers the time that a command waits in a pipeline. A process
 * that was too busy to look first reads what has come: the answer may be there, and Redis is not to blame.
 */
async function withDeadline<T>(work: Promise<T>, patienceMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const deadline = new Promise<never>((_, reject) => {
    timer = setTimeout(() => setImmediate(() => reject(new Error('Command timed out'))), patienceMs)
  })
  try {
    return await Promise.race([work, deadline])
  } finally {
    clearTimeout(timer)
  }
}

const isReply = (error: unknown) => error instanceof Error && error.name === 'ReplyError'
// Only the message: the error object of a failed AUTH carries the password.
const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error))
const reasonOf = (error: unknown) =>
  isDatabaseRefused(error) ? `the database of REDIS_URL is refused: ${messageOf(error)}` : messageOf(error)

/** One line when Redis goes and one when it is back, however often the client tries in between. */
function createRedisLog(log: Log) {
  let isDown = false
  const refused = new Set<string>()
  return {
    down: (error: unknown) => {
      if (isDown) return
      isDown = true
      log.warn({ reason: reasonOf(error) }, 'Redis is not reachable: continuing without it')
    },
    up: () => {
      if (isDown) log.info({}, 'Redis is reachable again')
      isDown = false
      refused.clear()
    },
    refused: (error: unknown) => {
      const reason = reasonOf(error)
      const [kind = ''] = reason.split(' ')
      if (refused.has(kind)) return
      refused.add(kind)
      log.warn({ reason }, 'Redis refused a command: continuing without it')
    },
  }
}

/**
 * Connects in the background and for ever: one URL means a single server, several mean a Redis Cluster.
 * Never throws or delays the start because Redis is down.
 */
export function connectRedis(urls: readonly string[], log: Log): RedisConnection {
  const client = createRedisClient(urls)
  const outageLog = createRedisLog(log)
  const listeners = new Set<() => void>()
  const duplicates = new Set<RedisClient>()
  let outages = 0
  /** The patience of who has waited longest in vain; 0: nobody has. Whoever is more patient goes on asking. */
  let failedPatienceMs = 0
  let failingSince = 0
  let isProbing = false
  let pausedUntil = 0
  let isClosed = false
  let confirmation: NodeJS.Timeout | undefined

  client.on('error', outageLog.down)
  client.on('ready', () => {
    failedPatienceMs = 0
    void confirm()
    for (const listener of listeners) listener()
  })
  client.on('close', () => {
    outages += 1
    if (!isClosed) outageLog.down(new Error('Connection closed'))
  })
  if (client instanceof Cluster) {
    client.on('-node', () => {
      outages += 1
    })
    // The cluster may go on without the node, or with another in its place, and tells of neither.
    client.on('node error', (error) => {
      outageLog.down(error)
      confirmLater()
    })
  }

  /** By a write: a replica answers reads, and so does a server that has no memory for more. */
  async function isReachable(): Promise<boolean> {
    if (client.status !== 'ready') return false
    try {
      return (await withDeadline(client.set(PROBE_KEY, '', 'PX', COMMAND_TIMEOUT_MS), COMMAND_TIMEOUT_MS)) === 'OK'
    } catch (error) {
      if (isReply(error)) outageLog.refused(error)
      return false
    }
  }

  /** A server that is there takes no writes, perhaps, until it is promoted or has memory again. */
  async function confirm(): Promise<void> {
    clearTimeout(confirmation)
    if (await isReachable()) return outageLog.up()
    if (client.status === 'ready' && !isClosed) confirmLater()
  }

  function confirmLater(): void {
    clearTimeout(confirmation)
    confirmation = setTimeout(confirm, CONFIRM_MS).unref()
  }

  const mayTry = (isPatient: boolean) =>
    client.status === 'ready' && !isClosed && (isPatient || (!isProbing && performance.now() >= pausedUntil))

  const onFailure = (error: unknown, patienceMs: number) => {
    if (isReply(error)) return outageLog.refused(error)
    const now = performance.now()
    if (failedPatienceMs === 0) failingSince = now
    failedPatienceMs = Math.max(failedPatienceMs, patienceMs)
    pausedUntil = now + PAUSE_AFTER_FAILURE_MS
    if (now - failingSince > SILENCE_TIMEOUT_MS && client instanceof Redis) {
      failingSince = now
      client.disconnect(true)
    }
    if (!isClosed) outageLog.down(error)
  }

  /** An answer that came too late for the less patient brings only the others back. */
  const onAnswer = (startedAt: number) => {
    if (failedPatienceMs === 0) return
    const now = performance.now()
    failingSince = now
    failedPatienceMs = now - startedAt > COMMAND_TIMEOUT_MS ? Math.min(failedPatienceMs, now - startedAt) : 0
    if (failedPatienceMs === 0) outageLog.up()
  }

  const run: RedisConnection['run'] = async (command, fallback, patienceMs = COMMAND_TIMEOUT_MS) => {
    const isPatient = patienceMs > failedPatienceMs
    if (!mayTry(isPatient)) return fallback()
    // While Redis does not answer, a single request at a time pays for finding out whether it does again.
    const isProbe = !isPatient
    if (isProbe) isProbing = true
    const startedAt = performance.now()
    try {
      const result = await withDeadline(command(client), patienceMs)
      onAnswer(startedAt)
      return result
    } catch (error) {
      onFailure(error, patienceMs)
      return fallback()
    } finally {
      if (isProbe) isProbing = false
    }
  }

  return {
    client,
    isCluster: client instanceof Cluster,
    run,
    outages: () => outages,
    onReconnect: (listener) => void listeners.add(listener),
    isReachable,
    duplicate: () => {
      const copy = client.duplicate()
      // The outage is already reported by the first connection, and an error event without a listener is printed.
      copy.on('error', () => {})
      duplicates.add(copy)
      return copy
    },
    close: async () => {
      isClosed = true
      for (const connection of [...duplicates, client]) connection.disconnect()
    },
  }
}

/** A Lua script: sent by its hash, and by its text when the server does not know it yet. */
export function createScript(lua: string) {
  const hash = createHash('sha1').update(lua).digest('hex')
  return async (
    client: RedisClient,
    keys: readonly string[],
    values: readonly (string | number)[],
  ): Promise<unknown> => {
    try {
      return await client.evalsha(hash, keys.length, ...keys, ...values)
    } catch (error) {
      if (!messageOf(error).startsWith('NOSCRIPT')) throw error
      return client.eval(lua, keys.length, ...keys, ...values)
    }
  }
}

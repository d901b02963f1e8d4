import { createRequire } from 'node:module'
import { Cluster, Redis, type RedisOptions } from 'ioredis'
import type connectors from 'ioredis/built/connectors/StandaloneConnector.js'

// Not one of the names that the client exports, and what `import` makes of its file is not the same everywhere.
const { default: StandaloneConnector } = createRequire(import.meta.url)(
  'ioredis/built/connectors/StandaloneConnector.js',
) as typeof connectors

export type RedisClient = Redis | Cluster

const CONNECT_TIMEOUT_MS = 2000
const REPLICA_RETRY_MS = 5000
// A peer that vanished without closing the connection would otherwise be waited for until TCP gives up, a quarter of an hour.
export const SILENCE_TIMEOUT_MS = 2000

/** Whether a server has no database of the number that the URL names, or does not let this user have it. */
export const isDatabaseRefused = (error: unknown): boolean =>
  error instanceof Error && (error as Error & { command?: { name?: string } }).command?.name === 'select'

/** A connection that was given up while it was made does not become ready by an answer that came with the refusal. */
class ConnectorOfOpenStreams extends StandaloneConnector {
  override check(): boolean {
    return this.stream.writable
  }
}

const retryDelayMs = (attempts: number) =>
  Math.min(50 * 2 ** Math.min(attempts - 1, 5), 1000) * (0.8 + Math.random() / 5)

const NODE_OPTIONS = {
  connectTimeout: CONNECT_TIMEOUT_MS,
  // Only so that nothing is waited for for ever: `run` has a deadline of its own, which is not fooled by a busy process.
  commandTimeout: SILENCE_TIMEOUT_MS,
  disconnectTimeout: 100,
  keepAlive: 10_000,
  // Commands in flight fail at once with their connection, and are never sent a second time.
  maxRetriesPerRequest: 0,
  autoResendUnfulfilledCommands: false,
  disableClientInfo: true,
  autoResubscribe: false,
} satisfies RedisOptions

/**
 * Whether to connect anew: what a replica says after a failover, when the address now leads to another server, though not
 * again and again, for it may lead to a replica. Or the client would go on in database 0.
 */
function createReconnectRule(): (error: Error) => boolean {
  let lastAt = Number.NEGATIVE_INFINITY
  return (error) => {
    if (isDatabaseRefused(error)) return true
    const now = performance.now()
    if (!error.message.startsWith('READONLY') || now - lastAt < REPLICA_RETRY_MS) return false
    lastAt = now
    return true
  }
}

/** One URL means a single server, several mean a Redis Cluster. */
export function createRedisClient(urls: readonly string[]): RedisClient {
  const [first = ''] = urls
  const nodeOptions = { ...NODE_OPTIONS, reconnectOnError: createReconnectRule() }
  if (urls.length === 1) {
    return new Redis(first, {
      ...nodeOptions,
      enableOfflineQueue: false,
      retryStrategy: retryDelayMs,
      Connector: ConnectorOfOpenStreams as RedisOptions['Connector'],
    })
  }
  const { protocol, username, password } = new URL(first)
  const isTls = protocol === 'rediss:'
  return new Cluster([...urls], {
    enableOfflineQueue: false,
    enableAutoPipelining: true,
    clusterRetryStrategy: retryDelayMs,
    maxRedirections: 3,
    slotsRefreshTimeout: CONNECT_TIMEOUT_MS,
    // Certificates name hosts, so under TLS the names must reach the connection unresolved.
    ...(isTls && { dnsLookup: (address, callback) => callback(null, address) }),
    redisOptions: {
      ...nodeOptions,
      // Not for a single server: the client's timer outlives the connection and would end the next one.
      socketTimeout: SILENCE_TIMEOUT_MS,
      ...(isTls && { tls: {} }),
      ...(username && { username: decodeURIComponent(username) }),
      ...(password && { password: decodeURIComponent(password) }),
    },
  })
}

// Subscribers that go on where they were, whatever happens to their connections.
import { createClient } from 'graphql-ws'
import { WebSocket } from 'ws'
import { type Result, serverSentEvents } from './streams.js'

/** What can be followed: the whole log, or what one is told about the own account. */
const STREAMS = {
  events: 'subscription ($after: String) { events: securityEvents(after: $after) { cursor node { id } } }',
  alerts: 'subscription ($after: String) { events: securityAlerts(after: $after) { cursor node { id } } }',
} as const

export interface Target {
  /** Where the server is, as soon as there is one; it may move. */
  url(): Promise<string>
  token: string
  stream: keyof typeof STREAMS
}

/** Reads from a cursor on, and hands over what comes. Ends when told to, or when the connection does. */
type Read = (target: Target, after: string, take: (event: Result) => void, signal: AbortSignal) => Promise<void>

const overSocket: Read = async ({ url, token, stream }, after, take, signal) => {
  const client = createClient({
    ...{ url: `${(await url()).replace(/^http/, 'ws')}/graphql`, webSocketImpl: WebSocket, retryAttempts: 0 },
    connectionParams: { authorization: `Bearer ${token}` },
  })
  signal.addEventListener('abort', () => client.terminate())
  for await (const result of client.iterate({ query: STREAMS[stream], variables: { after } })) {
    if (signal.aborted) return
    take(result as Result)
  }
}

/** As a browser's EventSource does: the same request again, with the id that came last. */
const overStream: Read = async ({ url, token, stream }, after, take, signal) => {
  const response = await fetch(`${await url()}/graphql?${new URLSearchParams({ query: STREAMS[stream] })}`, {
    headers: { accept: 'text/event-stream', authorization: `Bearer ${token}`, 'last-event-id': after },
    signal,
  })
  for await (const { result } of serverSentEvents(response)) if (result) take(result)
}

export const TRANSPORTS: readonly Read[] = [overSocket, overStream]

export interface Follower {
  /** The ids of the events, in the order in which they came. */
  readonly ids: readonly string[]
  readonly connections: () => number
  stop(): Promise<void>
}

/** Follows from a cursor on, and cuts its own connection whenever so many events have come as `patience` says. */
export function startFollower(read: Read, target: Target, from: string, patience: () => number): Follower {
  const ids: string[] = []
  let after = from
  let isStopped = false
  let connections = 0
  let cut = new AbortController()

  async function connect(): Promise<void> {
    cut = new AbortController()
    connections += 1
    let left = patience()
    const take = ({ data }: Result) => {
      if (!data || cut.signal.aborted) return
      ids.push(data.events.node.id)
      after = data.events.cursor
      left -= 1
      if (left === 0) cut.abort()
    }
    await read(target, after, take, cut.signal)
  }
  const running = (async () => {
    while (!isStopped) await connect().catch(() => {})
  })()
  return {
    ids,
    connections: () => connections,
    stop: () => {
      isStopped = true
      cut.abort()
      return running
    },
  }
}

// Subscribers that do not read what comes, until they are told to.
import { once } from 'node:events'
import { onTestFinished } from 'vitest'
import { WebSocket } from 'ws'
import { openDatabase } from './database.js'
import type { Installation } from './installation.js'
import { type Result, serverSentEvents } from './streams.js'

const BYTES = 10_000
const FILL = `
  INSERT INTO audit_inbox (type, occurred_at, success, risk_level, user_id, metadata)
  SELECT 'PASSWORD_RESET_COMPLETED', now(), true, 'HIGH', $1,
         jsonb_build_object('number', number, 'text', repeat('=', ${BYTES}))
  FROM generate_series($2::int, $3::int) AS number`

/** What they subscribe to: the signed-in user's alerts, with all that stands in them. */
export const ALERTS = `subscription ($after: String) {
  securityAlerts(after: $after, minRiskLevel: HIGH) { cursor node { metadata } }
}`

export interface Publisher {
  /** Writes events of 10 KB about the account: numbered, from the first number to the last. */
  publish(user: { id: string }, first: number, last: number): Promise<void>
}

export async function openPublisher(installation: Installation): Promise<Publisher> {
  const { query } = await openDatabase(installation)
  return { publish: async ({ id }, first, last) => void (await query(FILL, [id, first, last])) }
}

/** The numbers of the events, in the order in which they came. */
export const numbersOf = (results: readonly Result[]): number[] =>
  results.map(({ data }) => data.securityAlerts.node.metadata.number)

export interface SlowSubscriber {
  /** What it has read. */
  readonly received: readonly Result[]
  /** Reads on. Resolves when the stream has ended: with whether the server has said so, or else was cut off. */
  readOn(): Promise<'completed' | 'cut off'>
}

type OpenSlow = (url: string, token: string, variables: object) => Promise<SlowSubscriber>

/** A stream of server-sent events from which nothing is read. */
export const openSlowStream: OpenSlow = async (url, token, variables) => {
  const ending = new AbortController()
  onTestFinished(() => ending.abort())
  const response = await fetch(`${url}/graphql`, {
    ...{ method: 'POST', signal: ending.signal, body: JSON.stringify({ query: ALERTS, variables }) },
    headers: {
      ...{ 'content-type': 'application/json', accept: 'text/event-stream' },
      authorization: `Bearer ${token}`,
    },
  })
  const received: Result[] = []
  const read = async () => {
    for await (const { result } of serverSentEvents(response)) if (result) received.push(result)
  }
  return {
    received,
    readOn: () =>
      read().then(
        () => 'completed',
        () => 'cut off',
      ),
  }
}

const PONG_MS = 1000
const NO_CLOSE_FRAME = 1006

/** A WebSocket that has begun a subscription, and reads no further. It answers pings that it has not read. */
export const openSlowSocket: OpenSlow = async (url, token, variables) => {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws')
  const pongs = setInterval(() => socket.readyState === socket.OPEN && socket.pong(), PONG_MS)
  onTestFinished(() => {
    clearInterval(pongs)
    socket.terminate()
  })
  await once(socket, 'open')
  const send = (message: object) => socket.send(JSON.stringify(message))
  send({ type: 'connection_init', payload: { authorization: `Bearer ${token}` } })
  await once(socket, 'message')
  const received: Result[] = []
  socket.on('message', (text) => {
    const { type, payload } = JSON.parse(text.toString())
    if (type === 'next') received.push(payload)
  })
  socket.pause()
  send({ id: '1', type: 'subscribe', payload: { query: ALERTS, variables } })
  const closed = once(socket, 'close')
  return {
    received,
    readOn: async () => {
      socket.resume()
      const [code] = await closed
      return code === NO_CLOSE_FRAME ? 'cut off' : 'completed'
    },
  }
}

export const SLOW = [
  ['a WebSocket', openSlowSocket],
  ['server-sent events', openSlowStream],
] as const

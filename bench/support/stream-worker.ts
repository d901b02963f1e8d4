// Subscribers, in a process of their own: a thousand of them share one event loop with nobody else.
import { WebSocket } from 'ws'

export interface StreamJob {
  port: number
  token: string
  query: string
  /** How many subscribers to open beside those that are. */
  open: number
}

export interface StreamQuestion {
  job?: StreamJob
  /** Wait until every subscriber has had so many events since they were last asked for. */
  expect?: number
}

export interface StreamAnswer {
  subscribers: number
  /** When each event came to each subscriber, in milliseconds since 1970, and when it says that it happened. */
  arrivals: { at: number; occurredAt: number }[]
}

const OPENING_AT_ONCE = 50
const sockets: WebSocket[] = []
let arrivals: StreamAnswer['arrivals'] = []
let onArrival = () => {}

const now = () => performance.timeOrigin + performance.now()

const open = ({ port, token, query }: StreamJob) =>
  new Promise<void>((resolve, reject) => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/graphql`, 'graphql-transport-ws')
    const send = (message: object) => socket.send(JSON.stringify(message))
    socket.on('error', reject)
    socket.on('close', (code, reason) => reject(new Error(`The server closed with ${code} ${reason}`)))
    socket.on('open', () => {
      send({ type: 'connection_init', payload: { authorization: `Bearer ${token}` } })
    })
    socket.on('message', (text) => {
      const at = now()
      const { type, payload } = JSON.parse(text.toString())
      if (type === 'ping') send({ type: 'pong' })
      if (type === 'error') reject(new Error(JSON.stringify(payload)))
      if (type === 'connection_ack') {
        send({ id: '1', type: 'subscribe', payload: { query } })
        // Nothing says when a subscription begins: the answer to what was asked after it does, nearly.
        send({ id: '2', type: 'subscribe', payload: { query: '{ __typename }' } })
      }
      if (type === 'complete') resolve()
      if (type !== 'next' || payload.data?.__typename) return
      if (!payload.data) return reject(new Error(JSON.stringify(payload)))
      const [edge] = Object.values(payload.data) as [{ node: { occurredAt: string } }]
      arrivals.push({ at, occurredAt: Date.parse(edge.node.occurredAt) })
      onArrival()
    })
    sockets.push(socket)
  })

async function answer({ job, expect }: StreamQuestion): Promise<StreamAnswer> {
  for (let left = job?.open ?? 0; job && left > 0; left -= OPENING_AT_ONCE)
    await Promise.all(Array.from({ length: Math.min(left, OPENING_AT_ONCE) }, () => open(job)))
  if (expect === undefined) return { subscribers: sockets.length, arrivals: [] }
  const target = expect * sockets.length
  await new Promise<void>((resolve) => {
    onArrival = () => {
      if (arrivals.length >= target) resolve()
    }
    onArrival()
  })
  const taken = arrivals
  arrivals = []
  return { subscribers: sockets.length, arrivals: taken }
}

process.on('message', async (question: StreamQuestion) => {
  process.send?.(await answer(question))
})

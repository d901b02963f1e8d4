// How a subscription begins that may be refused, over both transports: it is given up as soon as that is known.
import { onTestFinished, vi } from 'vitest'
import type { ApiError } from './client.js'
import { metric } from './metrics.js'
import { openRawSocket, type Result, serverSentEvents } from './streams.js'

export interface Beginning {
  status: number
  errors: readonly ApiError[]
  /** That of the first event; null when none has come yet. */
  data: unknown
}
export type Probe = (body: string) => Promise<Beginning>

const PATIENCE = { timeout: 60_000, interval: 2 }
const subscribers = (url: string) => metric(url, 'event_subscribers')
const nobodyFollows = (url: string) => vi.waitUntil(async () => (await subscribers(url)) === 0, PATIENCE)
const beginning = (status: number, { data = null, errors = [] }: Result): Beginning => ({ status, data, errors })

/** Over server-sent events: the answer begins with an id, or is a refusal. */
export function streamProbe(url: string, authorization: Record<string, string>): Probe {
  const headers = { 'content-type': 'application/json', accept: 'text/event-stream', ...authorization }
  return async (body) => {
    const ending = new AbortController()
    const response = await fetch(`${url}/graphql`, { method: 'POST', body, headers, signal: ending.signal })
    const isStream = response.headers.get('content-type')?.startsWith('text/event-stream')
    if (!isStream) return beginning(response.status, (await response.json()) as Result)
    let result: Result | undefined
    for await (const event of serverSentEvents(response)) {
      result = event.result
      if (result || event.id) break
    }
    ending.abort()
    await nobodyFollows(url)
    return beginning(response.status, result ?? {})
  }
}

interface Message {
  id?: string
  type: string
  payload: ApiError[] | Result
}

/** Over a WebSocket, which says nothing of a subscription that has begun: the number of subscribers does. */
export async function socketProbe(url: string, authorization: Record<string, string>): Promise<Probe> {
  const socket = await openRawSocket(url)
  socket.send({ type: 'connection_init', payload: authorization })
  await socket.next()
  let isClosed = false
  let isOver = false
  onTestFinished(() => {
    isOver = true
  })
  void socket.closing.then(() => {
    isClosed = !isOver
  })
  let calls = 0
  return async (body) => {
    calls += 1
    const id = `${calls}`
    socket.send(`{"id":"${id}","type":"subscribe","payload":${body}}`)
    const answer = () => (socket.received as Message[]).find((message) => message.id === id)
    await vi.waitUntil(async () => isClosed || answer() !== undefined || (await subscribers(url)) > 0, PATIENCE)
    if (isClosed) throw new Error(`The server has closed the connection at ${body}`)
    const first = answer()
    if (first?.type !== 'error') socket.send({ id, type: 'complete' })
    await nobodyFollows(url)
    socket.received.length = 0
    if (Array.isArray(first?.payload)) return beginning(200, { errors: first.payload })
    return beginning(200, first?.payload ?? {})
  }
}

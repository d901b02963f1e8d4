// Live results, over graphql-ws and over server-sent events, read in the same way.
import type { Socket } from 'node:net'
import { createClient } from 'graphql-ws'
import { onTestFinished, vi } from 'vitest'
import { WebSocket } from 'ws'
import type { ApiError } from './client.js'
import { deferred } from './deferred.js'

export interface Result {
  // biome-ignore lint/suspicious/noExplicitAny: a result has the shape of whatever was asked
  data?: any
  errors?: ApiError[]
}

export interface Follower {
  /** Everything that has come so far. */
  readonly received: Result[]
  /** The `id` of each server-sent event; empty over a WebSocket. */
  readonly ids: string[]
  /** The next result that was not taken yet. Fails when none comes. */
  next(): Promise<Result>
  /** Resolves when the server has ended the stream. */
  readonly ended: Promise<void>
  stop(): void
}

export interface Closing {
  code: number
  reason: string
}

export interface LiveSocket {
  /** Resolves when the connection is closed, by whomever. */
  readonly closing: Promise<Closing>
  /** The only result of a query or a mutation. */
  ask(query: string, variables?: object): Promise<Result>
  follow(query: string, variables?: object, extensions?: object): Follower
  close(): void
}

export interface SocketOptions {
  token?: string
  headers?: Record<string, string>
}

const PATIENCE = { timeout: 60_000, interval: 5 }

function createInbox(ended: Promise<void>, stop: () => void) {
  const received: Result[] = []
  const ids: string[] = []
  let taken = 0
  const next = async () => {
    await vi.waitUntil(() => received.length > taken, PATIENCE)
    taken += 1
    return received[taken - 1] as Result
  }
  return { received, ids, next, ended, stop }
}

const endpointOf = (url: string) => `${url}/graphql`.replace(/^http/, 'ws')

/** A graphql-ws connection, acknowledged by the server unless that closes it. It ends with the test. */
export async function openSocket(url: string, { token, headers = {} }: SocketOptions = {}): Promise<LiveSocket> {
  const opening = deferred<void>()
  const closing = deferred<Closing>()
  const client = createClient({
    url: endpointOf(url),
    webSocketImpl: class extends WebSocket {
      constructor(address: string, protocols: string) {
        super(address, protocols, { headers })
      }
    },
    ...(token !== undefined && { connectionParams: { authorization: `Bearer ${token}` } }),
    lazy: false,
    retryAttempts: 0,
    onNonLazyError: () => {},
    on: {
      connected: () => opening.resolve(),
      closed: (event) => {
        closing.resolve(event as Closing)
        opening.resolve()
      },
    },
  })
  onTestFinished(() => void client.dispose())
  await opening.promise

  function follow(query: string, variables: object = {}, extensions?: object): Follower {
    const { promise, resolve } = deferred<void>()
    const inbox = createInbox(promise, () => unsubscribe())
    const unsubscribe = client.subscribe(
      { query, variables: variables as Record<string, unknown>, ...(extensions && { extensions: { ...extensions } }) },
      {
        next: (result) => void inbox.received.push(result as Result),
        // A list holds the errors of the operation; anything else says that the connection is gone.
        error: (error) => {
          if (Array.isArray(error)) inbox.received.push({ errors: error as unknown as ApiError[] })
          resolve()
        },
        complete: resolve,
      },
    )
    return inbox
  }

  return { closing: closing.promise, ask: (...call) => follow(...call).next(), follow, close: () => client.terminate() }
}

/** A connection that speaks the protocol by hand, for what no client library would send. */
export async function openRawSocket(
  url: string,
  headers: Record<string, string> = {},
  protocols = ['graphql-transport-ws'],
) {
  const socket = new WebSocket(endpointOf(url), protocols, { headers })
  onTestFinished(() => socket.terminate())
  /** What was not taken yet. */
  const received: unknown[] = []
  socket.on('message', (message) => received.push(JSON.parse(message.toString())))
  const closing = new Promise<Closing>((resolve) => {
    socket.once('close', (code, reason) => resolve({ code, reason: reason.toString() }))
  })
  /** The HTTP status of the answer: 101 when the connection was opened. */
  let requestId: string | undefined
  socket.once('upgrade', (response) => {
    requestId = String(response.headers['x-request-id'])
  })
  const status = await new Promise<number>((resolve, reject) => {
    socket.once('open', () => resolve(101))
    socket.once('unexpected-response', (_request, { statusCode = 0 }) => resolve(statusCode))
    socket.on('error', reject)
  })
  /** The next message that was not taken yet. Fails when none comes. */
  const next = async () => {
    await vi.waitUntil(() => received.length > 0, PATIENCE)
    return received.shift()
  }
  const send = (message: object | string) => socket.send(toText(message))
  /** Past the library, which sends nothing but frames. */
  const sendBytes = (...bytes: number[]) =>
    void (socket as unknown as { _socket: Socket })._socket.write(Buffer.from(bytes))
  const sendBinary = (bytes: Buffer) => socket.send(bytes, { binary: true })
  /** One message in so many frames. */
  const sendPieces = (text: string, count: number) => {
    const size = Math.ceil(text.length / count)
    for (let piece = 0; piece < count; piece += 1)
      socket.send(text.slice(piece * size, (piece + 1) * size), { fin: piece === count - 1 })
  }
  const terminate = () => socket.terminate()
  return { status, requestId, closing, next, received, send, sendBytes, sendBinary, sendPieces, terminate }
}

const toText = (message: object | string) => (typeof message === 'string' ? message : JSON.stringify(message))

/** Server-sent events for one operation, in the "distinct connections" mode of GraphQL over SSE. It ends with the test. */
export async function openStream(
  url: string,
  { token, headers = {} }: SocketOptions,
  query: string,
  variables: object = {},
): Promise<Follower & { response: Response }> {
  const ending = new AbortController()
  const stop = () => ending.abort()
  onTestFinished(stop)
  const response = await fetch(`${url}/graphql`, {
    method: 'POST',
    signal: ending.signal,
    headers: {
      'content-type': 'application/json',
      accept: 'text/event-stream',
      ...(token !== undefined && { authorization: `Bearer ${token}` }),
      ...headers,
    },
    body: JSON.stringify({ query, variables }),
  })
  const { promise, resolve } = deferred<void>()
  const inbox = createInbox(promise, stop)
  void readEvents(response, inbox).then(resolve, resolve)
  return { ...inbox, response }
}

async function readEvents(response: Response, { received, ids }: { received: Result[]; ids: string[] }): Promise<void> {
  for await (const { id, result } of serverSentEvents(response)) {
    if (id) ids.push(id)
    if (result) received.push(result)
  }
}

/** What a response of server-sent events says, until it says that it is complete. */
export async function* serverSentEvents(response: Response): AsyncGenerator<{ id?: string; result?: Result }> {
  let rest = ''
  const decoder = new TextDecoder()
  for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
    const blocks = (rest + decoder.decode(chunk, { stream: true })).split('\n\n')
    rest = blocks.pop() ?? ''
    for (const block of blocks) {
      const fields = new Map(block.split('\n').map((line) => [line.split(':', 1)[0], line.replace(/^[^:]*: ?/, '')]))
      const id = fields.get('id')
      if (fields.get('event') === 'complete') return
      yield {
        ...(id && { id }),
        ...(fields.get('event') === 'next' && { result: JSON.parse(fields.get('data') ?? '') as Result }),
      }
    }
  }
}

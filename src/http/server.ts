import { randomUUID } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Log } from '../ports.js'
import type { Client } from '../services/client.js'
import type { Connections } from './connections.js'
import type { Exchange } from './exchange.js'
import { sendFailure, sendNoHandler } from './failures.js'
import type { ErrorMasker } from './graphql-errors.js'
import { Head } from './head.js'
import { Request } from './request.js'
import type { HttpTransport } from './transport.js'

export type Handler = (exchange: Exchange) => Promise<void> | void

/** By path, then by method; `*` takes every method and decides for itself. */
export type Routes = Readonly<Record<string, Readonly<Record<string, Handler>>>>

interface Deps {
  routes: Routes
  /** Those that every response carries. */
  headers: readonly string[]
  productName: string
  /** How long a client may take to send a request, the last byte of the body included. */
  requestTimeoutMs: number
  /** How long an operation may take. */
  patienceMs: number
  log: Log
  readClient: (request: IncomingMessage) => Client
  openTransport: (request: IncomingMessage, head: Head) => HttpTransport
  maskError: ErrorMasker
  connections: Connections
  onResponse: (path: string, status: number, seconds: number) => void
}

const KEEP_ALIVE_MS = 65_000
const MAX_CHECKING_MS = 5_000
/** So long may nothing move on a connection that waits for something: streams of events send pings. */
const SILENCE_MS = 120_000
/** Each costs far more than its bytes; no client that is well, with all the proxies before it, has so many. */
export const MAX_HEADERS = 200

/** Finds the handler; answers 404 and 405 itself. */
function route(routes: Routes, exchange: Exchange, path: string): Handler | null {
  const { request, head } = exchange
  const methods = Object.hasOwn(routes, path) ? routes[path] : undefined
  const method = request.method === 'HEAD' ? 'GET' : (request.method ?? '')
  const handler = methods?.['*'] ?? (methods && Object.hasOwn(methods, method) ? methods[method] : undefined)
  if (handler) return handler
  if (methods) head.set('allow', Object.keys(methods).join(', '))
  sendNoHandler(exchange, methods ? 405 : 404)
  return null
}

interface HttpServer {
  server: Server
  /** From now on each answer is the last one of its connection. */
  drain(): void
  /** Closes the connections that have not asked for anything yet and, once no answer is being read, those that wait for nothing. */
  closeUnused(): void
}

/** The HTTP server: what every request gets before, and whatever happens after, its route. */
export function createHttpServer(deps: Deps): HttpServer {
  const { routes, headers, requestTimeoutMs, patienceMs, log, readClient, openTransport, maskError } = deps
  const { connections, onResponse, productName } = deps

  let isDraining = false

  const pathOf = ({ url = '/' }: IncomingMessage) => url.split('?', 1)[0] ?? '/'

  /** Counts a request, and writes it to the log, when it has ended. */
  function watch(request: IncomingMessage, response: ServerResponse, correlationId: string): void {
    const startedAt = performance.now()
    const { method } = request
    const path = pathOf(request)
    response.on('close', () => {
      const seconds = (performance.now() - startedAt) / 1000
      onResponse(Object.hasOwn(routes, path) ? path : 'other', response.statusCode, seconds)
      log.debug({ method, path, status: response.statusCode, seconds, correlationId }, 'Request')
    })
  }

  /** Refuses what is not even looked at. While it waits for an answer before its own, nothing is kept of its headers. */
  async function refuse(request: IncomingMessage, response: ServerResponse, status: 417 | 431): Promise<void> {
    request.headers = {}
    request.rawHeaders = []
    if (!(await connections.begin(response))) return
    const correlationId = randomUUID()
    watch(request, response, correlationId)
    const head = new Head(response, headers)
    head.set('x-request-id', correlationId)
    head.set('connection', 'close')
    head.set('content-length', 0)
    head.send(status)
  }

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.rawHeaders.length > 2 * MAX_HEADERS) return refuse(request, response, 431)
    if (!(await connections.begin(response))) return
    const path = pathOf(request)
    const client = readClient(request)
    const head = new Head(response, headers)
    head.set('x-request-id', client.correlationId)
    // Node does not read what else came with it.
    if (isDraining || request.headers.upgrade !== undefined || request.method === 'CONNECT')
      head.set('connection', 'close')
    watch(request, response, client.correlationId)
    try {
      const transport = openTransport(request, head)
      const exchange: Exchange = { request, response, head, client, transport, productName, ticket: null }
      await route(routes, exchange, path)?.(exchange)
      connections.shed(request.socket)
    } catch (error) {
      if (request.destroyed && !request.complete) return
      const masked = maskError(error)
      const { correlationId } = client
      if (masked.extensions.code === 'SERVICE_UNAVAILABLE') {
        log.warn({ err: error, correlationId, path }, 'A request was turned away')
      } else {
        log.error({ err: error, correlationId, path }, 'A request failed')
        masked.extensions.correlationId = correlationId
      }
      if (response.headersSent) response.destroy()
      else sendFailure({ request, head, productName }, masked)
    }
  }

  const server = createServer(
    {
      IncomingMessage: Request,
      headersTimeout: requestTimeoutMs,
      requestTimeout: requestTimeoutMs,
      keepAliveTimeout: KEEP_ALIVE_MS,
      connectionsCheckingInterval: Math.min(Math.ceil(requestTimeoutMs / 3), MAX_CHECKING_MS),
    },
    (request, response) => void handle(request, response),
  )
  // By default Node drops what comes after a thousand headers: those of a proxy come last. Their number is looked at here.
  server.maxHeadersCount = 0
  // Node would answer by itself, past what counts requests.
  server.on('checkExpectation', (request, response) => void refuse(request, response, 417))
  // An answer that its client does not read takes memory.
  server.setTimeout(Math.max(SILENCE_MS, 2 * patienceMs))
  server.on('connection', connections.open)
  // To Node a connection is idle while its client still reads the last answer.
  const closeIdle = server.closeIdleConnections.bind(server)
  server.closeIdleConnections = () => {
    if (!connections.isBeingRead()) closeIdle()
  }
  server.on('clientError', (error, socket) => connections.refuse(error, socket as Socket))
  return {
    server,
    drain() {
      isDraining = true
    },
    closeUnused() {
      server.closeIdleConnections()
      // Browsers connect ahead of what they may ask for; to Node such a connection is busy, and from `close` on no timeout ends it.
      connections.closeSilent()
    },
  }
}

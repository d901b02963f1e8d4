import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Log } from '../ports.js'
import type { Client } from '../services/client.js'
import type { Exchange } from './exchange.js'
import type { ErrorMasker } from './graphql-errors.js'
import { Head } from './head.js'
import { securityHeaders } from './headers.js'
import { PAGE_CSP } from './page-layout.js'
import { errorPage } from './pages.js'
import { send, sendErrors, sendJson } from './responses.js'
import type { HttpTransport } from './transport.js'

export type Handler = (exchange: Exchange) => Promise<void> | void

/** By path, then by method; `*` takes every method and decides for itself. */
export type Routes = Readonly<Record<string, Readonly<Record<string, Handler>>>>

interface Deps {
  routes: Routes
  isProduction: boolean
  /** How long a client may take to send a request, the last byte of the body included. */
  requestTimeoutMs: number
  log: Log
  readClient: (request: IncomingMessage) => Client
  openTransport: (request: IncomingMessage, head: Head) => HttpTransport
  maskError: ErrorMasker
  onResponse: (path: string, status: number, seconds: number) => void
}

const KEEP_ALIVE_MS = 65_000
const MAX_CHECKING_MS = 5_000

/** In the form that the client reads: a page for people. */
function refuse({ request, head }: Exchange, status: 404 | 405): void {
  const error = status === 404 ? 'Not found' : 'Method not allowed'
  if (!request.headers.accept?.includes('text/html')) {
    sendJson(head, status, { error })
    return
  }
  head.set('content-security-policy', PAGE_CSP)
  const page = errorPage(status, error, 'There is nothing to see at this address.')
  send(head, status, 'text/html; charset=utf-8', page)
}

/** Finds the handler; answers 404 and 405 itself. */
function route(routes: Routes, exchange: Exchange, path: string): Handler | null {
  const { request, head } = exchange
  const methods = Object.hasOwn(routes, path) ? routes[path] : undefined
  const method = request.method === 'HEAD' ? 'GET' : (request.method ?? '')
  const handler = methods?.['*'] ?? (methods && Object.hasOwn(methods, method) ? methods[method] : undefined)
  if (handler) return handler
  if (methods) head.set('allow', Object.keys(methods).join(', '))
  refuse(exchange, methods ? 405 : 404)
  return null
}

/** The HTTP server: what every request gets before, and whatever happens after, its route. */
export function createHttpServer(deps: Deps): Server {
  const { routes, isProduction, requestTimeoutMs, log, readClient, openTransport, maskError, onResponse } = deps

  const headers = securityHeaders(isProduction)

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const startedAt = performance.now()
    const path = (request.url ?? '/').split('?', 1)[0] ?? '/'
    const client = readClient(request)
    const head = new Head(response, headers)
    head.set('x-request-id', client.correlationId)
    response.on('close', () => {
      const seconds = (performance.now() - startedAt) / 1000
      onResponse(Object.hasOwn(routes, path) ? path : 'other', response.statusCode, seconds)
      const { method } = request
      log.debug({ method, path, status: response.statusCode, seconds, correlationId: client.correlationId }, 'Request')
    })
    try {
      const exchange = { request, response, head, client, transport: openTransport(request, head) }
      await route(routes, exchange, path)?.(exchange)
    } catch (error) {
      if (request.destroyed && !request.complete) return
      const masked = maskError(error)
      log.error({ err: error, correlationId: client.correlationId, path }, 'A request failed')
      masked.extensions.correlationId = client.correlationId
      if (response.headersSent) response.destroy()
      else sendErrors(head, masked.extensions.code === 'SERVICE_UNAVAILABLE' ? 503 : 500, masked)
    }
  }

  const server = createServer(
    {
      headersTimeout: requestTimeoutMs,
      requestTimeout: requestTimeoutMs,
      keepAliveTimeout: KEEP_ALIVE_MS,
      connectionsCheckingInterval: Math.min(Math.ceil(requestTimeoutMs / 3), MAX_CHECKING_MS),
    },
    (request, response) => void handle(request, response),
  )
  return server
}

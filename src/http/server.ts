import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Log } from '../ports.js'
import type { Client } from '../services/client.js'
import type { Exchange } from './exchange.js'
import type { ErrorMasker } from './graphql-errors.js'
import { setSecurityHeaders } from './headers.js'
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
  log: Log
  readClient: (request: IncomingMessage) => Client
  openTransport: (request: IncomingMessage, response: ServerResponse) => HttpTransport
  maskError: ErrorMasker
  onResponse: (path: string, status: number, seconds: number) => void
}

const HEADERS_TIMEOUT_MS = 10_000
const REQUEST_TIMEOUT_MS = 15_000
const KEEP_ALIVE_MS = 65_000

/** In the form that the client reads: a page for people. */
function refuse(request: IncomingMessage, response: ServerResponse, status: 404 | 405): void {
  const error = status === 404 ? 'Not found' : 'Method not allowed'
  if (!request.headers.accept?.includes('text/html')) {
    sendJson(response, status, { error })
    return
  }
  response.setHeader('content-security-policy', PAGE_CSP)
  send(
    response,
    status,
    'text/html; charset=utf-8',
    errorPage(status, error, 'There is nothing to see at this address.'),
  )
}

/** Finds the handler; answers 404 and 405 itself. */
function route(routes: Routes, { request, response }: Exchange, path: string): Handler | null {
  const methods = Object.hasOwn(routes, path) ? routes[path] : undefined
  const method = request.method === 'HEAD' ? 'GET' : (request.method ?? '')
  const handler = methods?.['*'] ?? (methods && Object.hasOwn(methods, method) ? methods[method] : undefined)
  if (handler) return handler
  if (methods) response.setHeader('allow', Object.keys(methods).join(', '))
  refuse(request, response, methods ? 405 : 404)
  return null
}

/** The HTTP server: what every request gets before, and whatever happens after, its route. */
export function createHttpServer(deps: Deps): Server {
  const { routes, isProduction, log, readClient, openTransport, maskError, onResponse } = deps

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const startedAt = performance.now()
    const path = (request.url ?? '/').split('?', 1)[0] ?? '/'
    const client = readClient(request)
    setSecurityHeaders(response, client.correlationId, isProduction)
    response.once('close', () => {
      const seconds = (performance.now() - startedAt) / 1000
      onResponse(Object.hasOwn(routes, path) ? path : 'other', response.statusCode, seconds)
      const { method } = request
      log.debug({ method, path, status: response.statusCode, seconds, correlationId: client.correlationId }, 'Request')
    })
    try {
      const exchange = { request, response, client, transport: openTransport(request, response) }
      await route(routes, exchange, path)?.(exchange)
    } catch (error) {
      if (request.destroyed && !request.complete) return
      const masked = maskError(error)
      log.error({ err: error, correlationId: client.correlationId, path }, 'A request failed')
      masked.extensions.correlationId = client.correlationId
      if (response.headersSent) response.destroy()
      else sendErrors(response, masked.extensions.code === 'SERVICE_UNAVAILABLE' ? 503 : 500, masked)
    }
  }

  const server = createServer(
    { headersTimeout: HEADERS_TIMEOUT_MS, requestTimeout: REQUEST_TIMEOUT_MS, keepAliveTimeout: KEEP_ALIVE_MS },
    (request, response) => void handle(request, response),
  )
  return server
}

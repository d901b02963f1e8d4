import type { IncomingMessage, Server } from 'node:http'
import type { Socket } from 'node:net'
import { handleProtocols } from 'graphql-ws'
import { type ServerOptions, WebSocketServer } from 'ws'
import { createCap } from './caps.js'
import { type Connections, linger } from './connections.js'
import { bareAnswer, headLines } from './headers.js'
import { MAX_HEADERS } from './server.js'
import { converse } from './socket-conversation.js'
import { type ConnectionExtra, createSocketProtocol, type SocketProtocolDeps } from './socket-protocol.js'

interface Deps extends SocketProtocolDeps {
  isTrustedOrigin: (origin: string) => boolean
  /** Those that every response carries. */
  headers: readonly string[]
  limits: SocketProtocolDeps['limits'] & { bodyBytes: number; socketsPerAddress: number }
  connections: Connections
}

/** So long may a client take to agree to a close. */
const CLOSE_TIMEOUT_MS = 2_000
const GOING_AWAY = 1001

/** GraphQL over WebSockets on the same server. */
export function createWebSocketServer(deps: Deps) {
  const { readClient, isTrustedOrigin, headers, limits, connections } = deps
  const open = createCap(limits.socketsPerAddress)
  const options: ServerOptions & Record<'closeTimeout' | 'maxFragments' | 'maxBufferedChunks', number> = {
    noServer: true,
    maxPayload: limits.bodyBytes,
    closeTimeout: CLOSE_TIMEOUT_MS,
    handleProtocols,
    // Each piece of a message that does not end holds memory, however short it is.
    maxFragments: 8,
    maxBufferedChunks: 1024,
    autoPong: false,
    // One message at a time: between two of them come the requests of others, however many a client sends at once.
    allowSynchronousEvents: false,
  }
  const sockets = new WebSocketServer(options)

  const headersFor = (request: IncomingMessage) => [...headers, 'x-request-id', readClient(request).correlationId]
  /** Answers an upgrade with a refusal. Nobody else listens to the socket, and an error without a listener ends the process. */
  function refuse(request: IncomingMessage, status: string, ...fields: string[]): void {
    const { socket } = request
    socket.on('error', () => socket.destroy())
    socket.write(bareAnswer(status, [...headersFor(request), ...fields]))
    linger(socket)
  }
  // Its own refusal of a handshake would be lost where a body is still coming.
  sockets.on('wsClientError', (_error, _socket, request) =>
    refuse(request, '400 Bad Request', 'sec-websocket-version', '13'),
  )
  sockets.on('headers', (lines, request) => lines.push(...headLines(headersFor(request))))

  const protocol = createSocketProtocol(deps)

  return {
    /** Lets `ws(s)://…/graphql` through. A browser says which page opens it: a foreign one is refused. */
    attach(httpServer: Server): void {
      httpServer.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
        // Its answer would overtake those before it, and be taken for one of them. Who opens a WebSocket sends nothing ahead.
        if (connections.isAnswering(socket)) return void socket.destroy()
        const { origin } = request.headers
        const { addressKey, correlationId } = readClient(request)
        // What happens on this connection has the id that its handshake was answered with.
        request.headers['x-request-id'] = correlationId
        if (request.url?.split('?')[0] !== '/graphql') return refuse(request, '404 Not Found')
        if (request.rawHeaders.length > 2 * MAX_HEADERS) return refuse(request, '431 Request Header Fields Too Large')
        if (origin !== undefined && !isTrustedOrigin(origin)) return refuse(request, '403 Forbidden')
        const release = open.take(addressKey)
        if (!release) return refuse(request, '429 Too Many Requests', 'retry-after', '60')
        socket.once('close', release)
        sockets.handleUpgrade(request, socket, head, (opened) => {
          converse<ConnectionExtra>(protocol, { socket: opened, request }, deps)
        })
      })
    },

    async close(): Promise<void> {
      for (const socket of sockets.clients) socket.close(GOING_AWAY, 'Going away')
      await new Promise((resolve) => sockets.close(resolve))
    },
  }
}

import type { IncomingMessage, Server } from 'node:http'
import type { Duplex } from 'node:stream'
import { type ExecutionArgs, GraphQLError, getOperationAST } from 'graphql'
import { CloseCode, type Context as SocketContext } from 'graphql-ws'
import { type Extra, useServer } from 'graphql-ws/use/ws'
import { type WebSocket, WebSocketServer } from 'ws'
import { createContext } from '../context.js'
import type { PrismaClient } from '../generated/prisma/client.js'
import type { Clock, Log } from '../ports.js'
import type { Client } from '../services/client.js'
import type { Services } from '../services/index.js'
import type { Viewer } from '../services/viewers.js'
import { createCap } from './caps.js'
import { bearerOf } from './exchange.js'
import { type ErrorMasker, stampErrors } from './graphql-errors.js'
import { persistedDocument } from './persisted-operations.js'
import { createSocketTransport } from './transport.js'
import type { Graphql } from './yoga.js'

interface Deps {
  graphql: Graphql
  services: Services
  prisma: PrismaClient
  clock: Clock
  maskError: ErrorMasker
  log: Log
  readClient: (request: IncomingMessage) => Client
  isTrustedOrigin: (origin: string) => boolean
  limits: { bodyBytes: number; socketsPerAddress: number; requestMs: number }
}

type Params = Record<string, unknown>
type ConnectionExtra = Extra & Record<PropertyKey, unknown> & { client?: Client; accessToken?: string | null }
type Connection = SocketContext<Params, ConnectionExtra>

const INIT_TIMEOUT_MS = 5_000
const PING_MS = 15_000
const MAX_DELAY_MS = 2_147_483_647
const GOING_AWAY = 1001

/** Answers an upgrade with a refusal. Nobody else listens to the socket, and an error without a listener ends the process. */
function refuse(socket: Duplex, status: string, headers = ''): void {
  socket.on('error', () => socket.destroy())
  socket.end(`HTTP/1.1 ${status}\r\nconnection: close\r\ncontent-length: 0\r\n${headers}\r\n`, () => socket.destroy())
}

/** graphql-ws on the same server: signed in by `connectionParams`, closed when the token or the session ends. */
export function createWebSocketServer(deps: Deps) {
  const { graphql, services, prisma, clock, maskError, log, readClient, isTrustedOrigin, limits } = deps
  const open = createCap(limits.socketsPerAddress)
  const sockets = new WebSocketServer({
    noServer: true,
    maxPayload: limits.bodyBytes,
    handleProtocols: (protocols) => (protocols.has('graphql-transport-ws') ? 'graphql-transport-ws' : false),
  })

  /** 4401 when the access token expires or its key is withdrawn, 4403 when the session ends. */
  function closeWith(socket: WebSocket, viewer: Viewer): void {
    // Gone while its token was looked at: it will not say so again.
    if (socket.readyState !== socket.OPEN) return
    const unwatch = services.sessionEnds.watch(viewer.session.id, () => socket.close(CloseCode.Forbidden, 'Forbidden'))
    const remainingMs = Math.max(0, viewer.tokenExpiresAt.getTime() - clock.now().getTime())
    const expire = () => socket.close(CloseCode.Unauthorized, 'Unauthorized')
    const unwatchKey = services.signingKeys.watch(viewer.tokenKid, expire)
    const timer = setTimeout(expire, Math.min(remainingMs, MAX_DELAY_MS))
    socket.once('close', () => {
      unwatch()
      unwatchKey()
      clearTimeout(timer)
    })
  }

  const contextOf = ({ client, accessToken = null }: { client: Client; accessToken?: string | null }) =>
    createContext(services, prisma, { client, accessToken, isProofMissing: false, transport: createSocketTransport() })

  const server = useServer<Params, ConnectionExtra>(
    {
      connectionInitWaitTimeout: Math.min(INIT_TIMEOUT_MS, limits.requestMs),
      execute: (args) => (args.rootValue as { execute: (args: ExecutionArgs) => unknown }).execute(args) as never,
      subscribe: (args) => (args.rootValue as { subscribe: (args: ExecutionArgs) => unknown }).subscribe(args) as never,

      // Without a token the connection is anonymous; with one, it has to be good.
      onConnect: async ({ connectionParams, extra }: Connection) => {
        const { authorization } = connectionParams ?? {}
        extra.client = readClient(extra.request)
        if (authorization === undefined) return true
        extra.accessToken = typeof authorization === 'string' ? bearerOf(authorization) : null
        const { viewer } = await contextOf({ client: extra.client, accessToken: extra.accessToken })
        if (!viewer) return false
        closeWith(extra.socket as WebSocket, viewer)
        return true
      },

      onSubscribe: async ({ extra }: Connection, _id, params) => {
        const client = extra.client ?? readClient(extra.request)
        const { schema, parse, validate, execute, subscribe } = graphql.getEnveloped({ params } as never)
        try {
          const { persistedOperations } = graphql
          const document = parse(persistedOperations ? persistedDocument(persistedOperations, params) : params.query)
          const invalid = validate(schema, document)
          if (invalid.length > 0) return invalid.map(maskError)
          if (!getOperationAST(document, params.operationName)) {
            return [maskError(new GraphQLError('Name the operation to execute.'))]
          }
          return {
            schema,
            document,
            operationName: params.operationName,
            variableValues: params.variables,
            contextValue: await contextOf({ client, accessToken: extra.accessToken ?? null }),
            rootValue: { execute, subscribe },
          }
        } catch (error) {
          return [maskError(error)]
        }
      },

      onNext: ({ extra }: Connection, _id, _payload, _args, result) =>
        stampErrors(result, extra.client?.correlationId ?? '', log),
      onError: ({ extra }: Connection, _id, _payload, errors) => {
        stampErrors({ errors }, extra.client?.correlationId ?? '', log)
        return errors.map((error) => error.toJSON())
      },
    },
    sockets,
    PING_MS,
  )

  return {
    /** Lets `ws(s)://…/graphql` through. A browser says which page opens it: a foreign one is refused. */
    attach(httpServer: Server): void {
      httpServer.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
        const { origin } = request.headers
        if (request.url?.split('?')[0] !== '/graphql') return refuse(socket, '404 Not Found')
        if (origin !== undefined && !isTrustedOrigin(origin)) return refuse(socket, '403 Forbidden')
        const release = open.take(readClient(request).addressKey)
        if (!release) return refuse(socket, '429 Too Many Requests', 'retry-after: 60\r\n')
        socket.once('close', release)
        sockets.handleUpgrade(request, socket, head, (opened) => sockets.emit('connection', opened, request))
      })
    },

    async close(): Promise<void> {
      for (const socket of sockets.clients) socket.close(GOING_AWAY, 'Going away')
      await server.dispose()
    },
  }
}

import type { IncomingMessage, Server } from 'node:http'
import type { Duplex } from 'node:stream'
import { type ExecutionArgs, GraphQLError, getOperationAST } from 'graphql'
import { CloseCode, type Context as SocketContext, type SubscribePayload } from 'graphql-ws'
import { type Extra, useServer } from 'graphql-ws/use/ws'
import { type ServerOptions, type WebSocket, WebSocketServer } from 'ws'
import { createContext, type Ticket } from '../context.js'
import { ServiceUnavailableError } from '../errors.js'
import type { PrismaClient } from '../generated/prisma/client.js'
import type { Clock, Log } from '../ports.js'
import type { Client } from '../services/client.js'
import type { Services } from '../services/index.js'
import type { Viewer } from '../services/viewers.js'
import { createCap, tooManyOperations } from './caps.js'
import type { Connections } from './connections.js'
import { bearerOf } from './exchange.js'
import { createGate, type Gate, type OpenTicket } from './gate.js'
import { type ErrorMasker, stampErrors } from './graphql-errors.js'
import { persistedDocument } from './persisted-operations.js'
import { readNoFasterThanRead, sendInVain } from './socket-flow.js'
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
  limits: { bodyBytes: number; operationsPerSocket: number; socketsPerAddress: number; requestMs: number }
  /** What is under way in the whole server. */
  inFlight: Gate
  connections: Connections
}

type Params = Record<string, unknown>

interface Caller {
  client: Client
  accessToken: string | null
}
/** What is known of a connection from its beginning on. */
interface Begun extends Caller {
  operations: Gate
}
type ConnectionExtra = Extra & Record<PropertyKey, unknown> & { begun?: Begun }
type Connection = SocketContext<Params, ConnectionExtra>

const INIT_TIMEOUT_MS = 5_000
const PING_MS = 15_000
/** So long may a client take to agree to a close. */
const CLOSE_TIMEOUT_MS = 2_000
const MAX_DELAY_MS = 2_147_483_647
const GOING_AWAY = 1001

/** Answers an upgrade with a refusal. Nobody else listens to the socket, and an error without a listener ends the process. */
function refuse(socket: Duplex, status: string, headers = ''): void {
  socket.on('error', () => socket.destroy())
  socket.end(`HTTP/1.1 ${status}\r\nconnection: close\r\ncontent-length: 0\r\n${headers}\r\n`, () => socket.destroy())
}

/** What onSubscribe leaves for the execution that follows. */
interface Plan {
  execute: (args: ExecutionArgs) => unknown
  subscribe: (args: ExecutionArgs) => unknown
  ticket: OpenTicket
}

/** A query or mutation is under way until it has ended, a subscription until it has begun. */
async function perform(how: 'execute' | 'subscribe', args: ExecutionArgs): Promise<never> {
  const plan = args.rootValue as Plan
  try {
    return (await plan[how](args)) as never
  } finally {
    plan.ticket.end()
  }
}

/** graphql-ws on the same server: signed in by `connectionParams`, closed when the token or the session ends. */
export function createWebSocketServer(deps: Deps) {
  const {
    graphql,
    services,
    prisma,
    clock,
    maskError,
    log,
    readClient,
    isTrustedOrigin,
    limits,
    inFlight,
    connections,
  } = deps
  const open = createCap(limits.socketsPerAddress)
  const options: ServerOptions & { closeTimeout: number } = {
    noServer: true,
    maxPayload: limits.bodyBytes,
    closeTimeout: CLOSE_TIMEOUT_MS,
    // One message at a time: between two of them come the requests of others, however many a client sends at once.
    allowSynchronousEvents: false,
  }
  const sockets = new WebSocketServer(options)

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

  const clientOf = ({ begun, request }: ConnectionExtra) => begun?.client ?? readClient(request)
  const contextOf = ({ client, accessToken }: Caller, ticket: Ticket | null) =>
    createContext(services, prisma, {
      ...{ client, accessToken, ticket, isProofMissing: false },
      transport: createSocketTransport(),
    })

  /** Counts one more operation: of this connection, and of the server. Throws when there are too many. */
  function admit({ operations }: Begun): OpenTicket {
    const shared = inFlight.take()
    if (!shared) throw new ServiceUnavailableError()
    const own = operations.take(shared.end)
    if (own) return own
    shared.end()
    throw tooManyOperations(operations)
  }

  async function plan(begun: Begun, params: SubscribePayload, ticket: OpenTicket) {
    const { schema, parse, validate, execute, subscribe } = graphql.getEnveloped({ params } as never)
    const { persistedOperations } = graphql
    const document = parse(persistedOperations ? persistedDocument(persistedOperations, params) : params.query)
    const invalid = validate(schema, document)
    if (invalid.length > 0) return invalid.map(maskError)
    if (!getOperationAST(document, params.operationName)) {
      return [maskError(new GraphQLError('Name the operation to execute.'))]
    }
    return {
      ...{ schema, document, operationName: params.operationName, variableValues: params.variables },
      contextValue: await contextOf(begun, ticket),
      rootValue: { execute, subscribe, ticket } satisfies Plan,
    }
  }

  const server = useServer<Params, ConnectionExtra>(
    {
      connectionInitWaitTimeout: Math.min(INIT_TIMEOUT_MS, limits.requestMs),
      execute: (args) => perform('execute', args),
      subscribe: (args) => perform('subscribe', args),

      // Without a token the connection is anonymous; with one, it has to be good.
      onConnect: async ({ connectionParams, extra }: Connection) => {
        const { authorization } = connectionParams ?? {}
        const client = readClient(extra.request)
        const accessToken = typeof authorization === 'string' ? bearerOf(authorization) : null
        extra.begun = { client, accessToken, operations: createGate(limits.operationsPerSocket) }
        if (authorization === undefined) return true
        const { viewer } = await contextOf(extra.begun, null)
        if (!viewer) {
          // Only expired: a refresh helps. Otherwise graphql-ws closes with 4403.
          const hasExpired = accessToken && (await services.viewers.sessionOf(accessToken))
          if (hasExpired) (extra.socket as WebSocket).close(CloseCode.Unauthorized, 'Unauthorized')
          return false
        }
        closeWith(extra.socket as WebSocket, viewer)
        return true
      },

      // Nothing comes here before onConnect has let it.
      onSubscribe: async ({ extra }: Connection, _id, params) => {
        const begun = extra.begun as Begun
        let ticket: OpenTicket | undefined
        try {
          ticket = admit(begun)
          const planned = await plan(begun, params, ticket)
          if (Array.isArray(planned)) ticket.end()
          return planned
        } catch (error) {
          ticket?.end()
          return [maskError(error)]
        }
      },

      onNext: ({ extra }: Connection, _id, _payload, _args, result) => {
        stampErrors(result, clientOf(extra), log)
        // Then it is sent, as far as the client lets it.
        setImmediate(connections.shed, extra.request.socket)
      },
      onError: ({ extra }: Connection, _id, _payload, errors) => {
        stampErrors({ errors }, clientOf(extra), log)
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
        sockets.handleUpgrade(request, socket, head, (opened) => {
          readNoFasterThanRead(opened, socket)
          sendInVain(opened)
          sockets.emit('connection', opened, request)
          // ws has closed the connection of whoever sends what is no frame; graphql-ws would print it, past the log.
          opened.removeAllListeners('error')
          opened.on('error', ({ message }) => log.debug({ reason: message }, 'A WebSocket sent what is no message'))
        })
      })
    },

    async close(): Promise<void> {
      for (const socket of sockets.clients) socket.close(GOING_AWAY, 'Going away')
      await server.dispose()
    },
  }
}

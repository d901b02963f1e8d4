import type { IncomingMessage } from 'node:http'
import { type ExecutionArgs, type ExecutionResult, GraphQLError, getOperationAST } from 'graphql'
import { CloseCode, makeServer, type Server, type Context as SocketContext, type SubscribePayload } from 'graphql-ws'
import { createContext, type Ticket } from '../context.js'
import { RequestError, ServiceUnavailableError } from '../errors.js'
import type { PrismaClient } from '../generated/prisma/client.js'
import type { Log } from '../ports.js'
import type { Client } from '../services/client.js'
import type { Services } from '../services/index.js'
import type { Viewer } from '../services/viewers.js'
import { tooManyOperations } from './caps.js'
import { bearerOf } from './exchange.js'
import { type Events, type Executor, type Subscriber, withEnd } from './execution.js'
import { createGate, type Gate, type OpenTicket } from './gate.js'
import type { Graphql } from './graphql.js'
import { type ErrorMasker, stampErrors } from './graphql-errors.js'
import { persistedDocument } from './persisted-operations.js'
import type { Extra } from './socket-conversation.js'
import { createIds, type Holder } from './socket-ids.js'
import { createSocketTransport } from './transport.js'

export interface SocketProtocolDeps {
  graphql: Graphql
  services: Services
  prisma: PrismaClient
  maskError: ErrorMasker
  log: Log
  readClient: (request: IncomingMessage) => Client
  limits: { operationsPerSocket: number; requestMs: number }
  /** What is under way in the whole server. */
  inFlight: Gate
}

type Params = Record<string, unknown>

interface Caller {
  client: Client
  accessToken: string | null
}
/** What is known of a connection from its beginning on. */
interface Begun extends Caller {
  operations: Gate
  /** Queries and mutations that have no answer yet. */
  unanswered: Set<SubscribePayload>
  /** To be done when all of them have one. */
  afterwards?: () => void
  /** What has not ended. */
  streams: Set<Events>
  /** graphql-ws cannot tell operations apart whose id is the same. */
  ids: ReturnType<typeof createIds>
}
export interface ConnectionExtra extends Extra {
  begun?: Begun
}
type Connection = SocketContext<Params, ConnectionExtra>

const INIT_TIMEOUT_MS = 5_000
/** So long may an answer keep the connection open whose session it has ended. */
const ANSWER_MS = 300

/** What onSubscribe leaves for the execution that follows. */
interface Plan {
  execute: Executor
  subscribe: Subscriber
  ticket: OpenTicket
  begun: Begun
  params: SubscribePayload
  holder: Holder
}

/** A query or mutation is under way until it has ended. */
async function perform(args: ExecutionArgs): Promise<ExecutionResult> {
  const { execute, ticket, begun, params, holder } = args.rootValue as Plan
  const result = await execute(args).finally(ticket.end)
  if (holder.isReplaced()) begun.unanswered.delete(params)
  return holder.conclude(result)
}

/** A subscription is under way until it has begun. */
async function begin(args: ExecutionArgs): Promise<Events | ExecutionResult> {
  const { subscribe, ticket, begun, holder } = args.rootValue as Plan
  const result = await subscribe(args).finally(ticket.end)
  if (!(Symbol.asyncIterator in result)) return holder.conclude(result)
  const stream = withEnd(result, () => {
    begun.streams.delete(stream)
    holder.release()
  })
  begun.streams.add(stream)
  if (holder.isReplaced()) await stream.return?.()
  return holder.unlessReplaced({ ...stream, next: () => stream.next().then(holder.unlessReplaced) })
}

/** The protocol graphql-ws: signed in by `connectionParams`, closed when the token or the session ends. */
export function createSocketProtocol(deps: SocketProtocolDeps): Server<ConnectionExtra> {
  const { graphql, services, prisma, maskError, log, readClient, limits, inFlight } = deps

  /** 4401 when the access token expires or its key is withdrawn, 4403 when the session ends. */
  function closeWith({ socket }: Extra, begun: Begun, viewer: Viewer): void {
    // Gone while its token was looked at: it will not say so again.
    if (socket.readyState !== socket.OPEN) return
    const forbid = () => socket.close(CloseCode.Forbidden, 'Forbidden')
    const unwatch = services.lives.watch(viewer, (end) => {
      if (end === 'TOKEN') return socket.close(CloseCode.Unauthorized, 'Unauthorized')
      // Who has just signed out is told that it worked.
      if (begun.unanswered.size === 0) return forbid()
      begun.afterwards = forbid
      setTimeout(forbid, ANSWER_MS)
    })
    socket.once('close', unwatch)
  }

  const clientOf = ({ begun, request }: ConnectionExtra) => begun?.client ?? readClient(request)
  const contextOf = ({ client, accessToken }: Caller, ticket: Ticket | null) =>
    createContext(services, prisma, {
      client,
      accessToken,
      ticket,
      isProofMissing: false,
      transport: createSocketTransport(),
    })

  /** Counts one more operation: of this connection, and of the server. Throws when there are too many. */
  function admit({ operations }: Begun): OpenTicket {
    const shared = inFlight.take()
    if (!shared) throw new ServiceUnavailableError('MAX_IN_FLIGHT')
    const own = operations.take(shared.end)
    if (own) return own
    shared.end()
    throw tooManyOperations(operations)
  }

  async function plan({ socket }: Extra, begun: Begun, params: SubscribePayload, ticket: OpenTicket, holder: Holder) {
    const { schema, parse, validate, execute, subscribe } = graphql.getEnveloped({ params } as never)
    const { persistedOperations } = graphql
    const text = persistedOperations ? persistedDocument(persistedOperations, params) : params.query
    await graphql.turnOf(begun.client.addressKey, text, params)
    const document = parse(text)
    const invalid = validate(schema, document)
    if (invalid.length > 0) return invalid.map(maskError)
    const operation = getOperationAST(document, params.operationName)
    if (!operation) return [maskError(new GraphQLError('Name the operation to execute.'))]
    const contextValue = await contextOf(begun, ticket)
    // The password was changed since: the client connects again with a new token.
    if (begun.accessToken && !contextValue.viewer && begun.unanswered.size === 0) {
      socket.close(CloseCode.Unauthorized, 'Unauthorized')
      return [maskError(new RequestError('UNAUTHENTICATED', 'Connect again with a new token.'))]
    }
    return {
      isAnswered: operation.operation !== 'subscription',
      schema,
      document,
      operationName: params.operationName,
      variableValues: params.variables,
      contextValue,
      rootValue: { execute, subscribe, ticket, begun, params, holder } as Plan,
    }
  }

  return makeServer<Params, ConnectionExtra>({
    connectionInitWaitTimeout: Math.min(INIT_TIMEOUT_MS, limits.requestMs),
    execute: perform,
    subscribe: begin,

    // Without a token the connection is anonymous; with one, it has to be good.
    onConnect: async (connection: Connection) => {
      const { connectionParams, extra } = connection
      const { Authorization, authorization = Authorization } = connectionParams ?? {}
      // What else they say would be kept for as long as the connection.
      Object.assign(connection, { connectionParams: undefined })
      const client = readClient(extra.request)
      const accessToken = typeof authorization === 'string' ? bearerOf(authorization) : null
      const operations = createGate(limits.operationsPerSocket)
      const open = { unanswered: new Set<SubscribePayload>(), streams: new Set<Events>(), ids: createIds() }
      extra.begun = { client, accessToken, operations, ...open }
      if (authorization === undefined) return true
      const { viewer } = await contextOf(extra.begun, null)
      if (!viewer) {
        // Only expired: a refresh helps. Otherwise graphql-ws closes with 4403.
        const hasExpired = accessToken && (await services.viewers.hasLiveSession(accessToken))
        if (hasExpired) extra.socket.close(CloseCode.Unauthorized, 'Unauthorized')
        return false
      }
      closeWith(extra, extra.begun, viewer)
      return true
    },

    // Nothing comes here before onConnect has let it.
    onSubscribe: async ({ extra }: Connection, id, params) => {
      const begun = extra.begun as Begun
      const holder = begun.ids.take(id)
      let ticket: OpenTicket | undefined
      const refuse = (errors: GraphQLError[]) => {
        ticket?.end()
        return holder.conclude(errors)
      }
      try {
        ticket = admit(begun)
        const planned = await plan(extra, begun, params, ticket, holder)
        if (Array.isArray(planned)) return await refuse(planned)
        if (planned.isAnswered) begun.unanswered.add(params)
        return planned
      } catch (error) {
        return await refuse([maskError(error)])
      } finally {
        // What else was said.
        Object.assign(params, { query: '', variables: undefined, extensions: undefined })
      }
    },

    onNext: ({ extra }: Connection, _id, _payload, _args, result) => stampErrors(result, clientOf(extra), log),
    onError: ({ extra }: Connection, _id, _payload, errors) => {
      stampErrors({ errors }, clientOf(extra), log)
      return errors.map((error) => error.toJSON())
    },
    onComplete: ({ extra: { begun } }: Connection, _id, params) => {
      begun?.unanswered.delete(params)
      // The message that says so is yet to be sent.
      if (begun?.unanswered.size === 0 && begun.afterwards) setImmediate(begun.afterwards)
    },
    onClose: async ({ extra: { begun } }: Connection) => {
      await Promise.allSettled([...(begun?.streams ?? [])].map((stream) => stream.return?.()))
    },
  })
}

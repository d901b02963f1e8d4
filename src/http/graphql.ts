import {
  type DocumentNode,
  type ExecutionArgs,
  type ExecutionResult,
  type GraphQLSchema,
  getOperationAST,
  NoSchemaIntrospectionCustomRule,
  validate,
} from 'graphql'
import { createYoga, type GraphQLParams, type Plugin } from 'graphql-yoga'
import { type Context, createContext } from '../context.js'
import { ServiceUnavailableError } from '../errors.js'
import type { PrismaClient } from '../generated/prisma/client.js'
import type { Log } from '../ports.js'
import type { Services } from '../services/index.js'
import { createCap } from './caps.js'
import { createDocuments } from './documents.js'
import { endTogether, streamEvents } from './event-stream.js'
import { callerOf, type Exchange } from './exchange.js'
import { createExecutor, createSubscriber, type Executor, type OnField, type Subscriber } from './execution.js'
import { type ErrorMasker, refusalOf, retryAfterOf, stampErrors, statusOf } from './graphql-errors.js'
import { type DocumentLimits, documentLimits, refuse } from './limits.js'
import { onlyPersistedOperations, type PersistedOperations } from './persisted-operations.js'
import { createReadingTurns, LONG_TEXT, READ_IN_ONE_GO } from './reading-turns.js'
import { declaredOf } from './variables.js'

export interface GraphqlOptions {
  schema: GraphQLSchema
  services: Services
  prisma: PrismaClient
  maskError: ErrorMasker
  hasIntrospection: boolean
  /** Whether errors may tell names of the schema that a document came near to. */
  hasSuggestions: boolean
  limits: DocumentLimits & { operationMs: number; subscriptionsPerAddress: number; subscriptionsPerUser: number }
  persistedOperations: PersistedOperations | undefined
  /** How much may wait for its turn to be read. */
  mostWaiting: number
  log: Log
  onField: OnField
}

/** What the edge tells Yoga about a request. */
interface ServerContext {
  exchange: Exchange
}

/** Whether a client takes a stream, be it because it takes anything. */
const acceptsStream = ({ request }: Exchange) =>
  /text\/event-stream|(text|\*)\/\*/.test(request.headers.accept ?? '*/*')

/** Whether the client reads nothing else: a refusal says by its status then that there is no stream. */
const asksForStream = ({ request: { headers } }: Exchange) =>
  /text\/(event-stream|\*)/.test(headers.accept ?? '') && !/json|(\*|application)\/\*/.test(headers.accept ?? '')

const useNoIntrospection = (): Plugin => ({
  onValidate({ addValidationRule }) {
    addValidationRule(NoSchemaIntrospectionCustomRule)
  },
})

/** In place, because others hold both objects for as long as the operation goes on. Of extensions nothing is needed any more. */
function forgetUndeclared(args: ExecutionArgs): void {
  args.variableValues = declaredOf(args.document, args.operationName, args.variableValues)
  const { params } = args.contextValue as { params?: GraphQLParams }
  if (params) Object.assign(params, { variables: args.variableValues, extensions: undefined })
}

const useFunctions = (execute: Executor, subscribe: Subscriber): Plugin => ({
  onExecute({ args, setExecuteFn }) {
    forgetUndeclared(args)
    setExecuteFn(execute)
  },
  onSubscribe({ args, setSubscribeFn }) {
    forgetUndeclared(args)
    setSubscribeFn(subscribe)
  },
})

/** A few errors tell enough of a document that is wrong: each costs more than the field that causes it. */
const MAX_ERRORS = 10

/** What the lean path has found already is not looked for again. */
const useValidation = (hideSuggestions: boolean): Plugin => ({
  onValidate({ context, setResult, setValidationFn }) {
    const { invalid } = (context as Partial<ServerContext>).exchange ?? {}
    if (invalid) setResult(invalid)
    setValidationFn((schema, document, rules, _typeInfo, options) => {
      try {
        return validate(schema, document, rules, { ...options, hideSuggestions, maxErrors: MAX_ERRORS })
      } catch (error) {
        // Pairs of fragments in circles are compared as deep as there are pairs, before anything says that they are circles.
        if (error instanceof RangeError) refuse('Has too many fragments that spread each other.')
        throw error
      }
    })
  },
})

/** However the request came: a GET, or what asks for a stream. */
const useTurns = ({ turnOf }: ReturnType<typeof createDocuments>): Plugin<object, ServerContext> => ({
  onParams: ({ params, context: { exchange } }) => turnOf(exchange.client.addressKey, params.query ?? '', params),
})

/** Answers as event streams with ids, and errors as the contract has them. */
const useResults = (maskError: ErrorMasker, log: Log): Plugin => ({
  onResultProcess({ result, setResult, setResultProcessor, serverContext }) {
    const { exchange } = serverContext as unknown as ServerContext
    const { client, head, response, transport } = exchange
    if (Symbol.asyncIterator in result) {
      endTogether(result, response, transport.stream?.life)
      const { firstEventId } = transport.stream ?? {}
      if (firstEventId !== undefined && acceptsStream(exchange))
        setResultProcessor((_, fetchApi) => streamEvents(result, firstEventId, fetchApi), 'text/event-stream')
      return
    }
    if (!('errors' in result) || !result.errors) return
    // Validation's own errors come past the masking.
    const errors = result.errors.map(maskError)
    // An answer with data is a success, whatever else it has: see statusOf.
    if (result.data) for (const { extensions } of errors) Reflect.deleteProperty(extensions, 'http')
    stampErrors({ errors }, client, log)
    const retryAfter = retryAfterOf({ errors })
    if (retryAfter !== null) head.set('retry-after', retryAfter)
    // Of an error that some field has thrown Yoga would say 500, which a proxy may take for that of a broken server.
    const status = asksForStream(exchange) ? refusalOf({ errors }) : statusOf({ ...result, errors })
    setResult({ ...result, errors, ...(!result.data && { extensions: { http: { status } } }) })
  },
})

/** The GraphQL pipeline, for every transport, and Yoga's own HTTP layer for what the lean path leaves to it. */
export function createGraphql(options: GraphqlOptions) {
  const { schema, services, prisma, maskError, hasIntrospection, hasSuggestions, log, onField } = options
  const { limits, persistedOperations, mostWaiting } = options
  const hideSuggestions = !hasSuggestions
  const execute = createExecutor({ maskError, onField, timeoutMs: limits.operationMs, hideSuggestions })
  const subscribe = createSubscriber({
    maskError,
    hideSuggestions,
    perUser: createCap(limits.subscriptionsPerUser),
    perAddress: createCap(limits.subscriptionsPerAddress),
  })
  const contextOf = (exchange: Exchange, params: GraphQLParams): Promise<Context> =>
    createContext(services, prisma, callerOf(exchange, params))

  const takeTurn = createReadingTurns(mostWaiting)
  const documents = createDocuments(takeTurn)
  // One of each WebSocket, of which nothing more is read meanwhile: none has to be refused, which would close it.
  const takeShortTurn = createReadingTurns(Number.POSITIVE_INFINITY)

  const yoga = createYoga<ServerContext, Context>({
    schema,
    logging: false,
    landingPage: false,
    // The edge does these for every path: see http/server.ts.
    cors: false,
    multipart: false,
    maxRequestBodySize: false,
    // It keeps any document, of any size. Ours is below.
    parserAndValidationCache: false,
    graphiql: false,
    maskedErrors: { maskError, errorMessage: 'Something went wrong.' },
    context: ({ exchange, params }) => contextOf(exchange, params ?? {}),
    plugins: [
      // Those that are persisted are the operator's.
      ...(persistedOperations ? [] : [useTurns(documents)]),
      documents.plugin,
      ...documentLimits(limits),
      ...(hasIntrospection ? [] : [useNoIntrospection()]),
      useValidation(hideSuggestions),
      useFunctions(execute, subscribe),
      ...(persistedOperations ? [onlyPersistedOperations(persistedOperations)] : []),
      useResults(maskError, log),
    ],
  })

  /** The document of a query or mutation; null when it is not valid, or names no such operation. */
  async function prepare(exchange: Exchange, params: GraphQLParams): Promise<DocumentNode | null> {
    const { query = '', operationName } = params
    const document = documents.get(query) ?? (await read(exchange, params, query))
    const operation = document && getOperationAST(document, operationName)
    return operation && operation.operation !== 'subscription' ? document : null
  }

  /** Yoga answers for a document that is not valid, and looks again only for a limit that it exceeds. */
  async function read(exchange: Exchange, params: GraphQLParams, query: string): Promise<DocumentNode | null> {
    try {
      await documents.turnOf(exchange.client.addressKey, query, params)
      const { parse, validate } = yoga.getEnveloped({ request: exchange.request, params } as never)
      const document = parse(query) as DocumentNode
      const errors = validate(schema, document)
      if (errors.length > 0) {
        exchange.invalid = errors
        return null
      }
      return document
    } catch (error) {
      if (error instanceof ServiceUnavailableError) throw error
      return null
    }
  }

  return {
    prepare,
    persistedOperations,

    /** Executes a query or mutation of the exchange. Never rejects: what fails is an error of the result. */
    async run(exchange: Exchange, document: DocumentNode, params: GraphQLParams): Promise<ExecutionResult> {
      const { operationName } = params
      params.variables = declaredOf(document, operationName, params.variables)
      try {
        const contextValue = await contextOf(exchange, params)
        return await execute({ schema, document, contextValue, variableValues: params.variables, operationName })
      } catch (error) {
        return { errors: [maskError(error)] }
      }
    },

    /** Answers whatever GraphQL over HTTP allows. */
    fetch: (url: string, init: RequestInit, context: ServerContext): Promise<Response> =>
      Promise.resolve(yoga.fetch(url, init, context)),
    getEnveloped: yoga.getEnveloped,
    turnOf: documents.turnOf,
    /** For a request over HTTP, or a form. For a text to be read, nobody waits. */
    takeRequestTurn: (caller: string, { length }: { length: number }): Promise<void> | undefined =>
      length > LONG_TEXT ? takeTurn(caller, length) : undefined,
    /** For a message over a WebSocket. */
    takeMessageTurn: (caller: string, length: number): Promise<void> =>
      length > READ_IN_ONE_GO ? takeTurn(caller) : takeShortTurn(caller, length),
  }
}

export type Graphql = ReturnType<typeof createGraphql>

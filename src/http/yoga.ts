import { type GraphQLSchema, getOperationAST, Kind, NoSchemaIntrospectionCustomRule } from 'graphql'
import { createYoga, type Plugin } from 'graphql-yoga'
import { type Context, createContext } from '../context.js'
import type { PrismaClient } from '../generated/prisma/client.js'
import type { Log } from '../ports.js'
import type { Services } from '../services/index.js'
import { callerOf, type Exchange } from './exchange.js'
import { graphiqlOptions, renderGraphiql } from './graphiql.js'
import { type ErrorMasker, MAX_TOKENS, retryAfterOf, stampErrors } from './graphql-errors.js'

export interface GraphqlOptions {
  schema: GraphQLSchema
  services: Services
  prisma: PrismaClient
  maskError: ErrorMasker
  hasGraphiql: boolean
  hasIntrospection: boolean
  log: Log
  /** `code` is OK or that of the error. */
  onField: (field: string, code: string, seconds: number) => void
}

const useTokenLimit = (): Plugin => ({
  onParse({ parseFn, setParseFn }) {
    setParseFn((source, options) => parseFn(source, { ...options, maxTokens: MAX_TOKENS }))
  },
})

const useNoIntrospection = (): Plugin => ({
  onValidate({ addValidationRule }) {
    addValidationRule(NoSchemaIntrospectionCustomRule)
  },
})

/** Counts calls of root fields by outcome. */
const useMeasurement = (onField: GraphqlOptions['onField']): Plugin => ({
  onExecute({ args: { document, operationName } }) {
    const startedAt = performance.now()
    return {
      onExecuteDone({ result }) {
        const seconds = (performance.now() - startedAt) / 1000
        const errors = 'errors' in result ? (result.errors ?? []) : []
        for (const selection of getOperationAST(document, operationName)?.selectionSet.selections ?? []) {
          if (selection.kind !== Kind.FIELD) continue
          const key = selection.alias?.value ?? selection.name.value
          const code = errors.find((error) => error.path?.[0] === key)?.extensions.code
          onField(selection.name.value, String(code ?? 'OK'), seconds)
        }
      },
    }
  },
})

/** The GraphQL pipeline, for every transport, and Yoga's own HTTP layer for what the lean path leaves to it. */
export function createGraphql(options: GraphqlOptions) {
  const { schema, services, prisma, maskError, hasGraphiql, hasIntrospection, log, onField } = options
  return createYoga<{ exchange: Exchange }, Context>({
    schema,
    logging: false,
    landingPage: false,
    // The edge does these for every path: see http/server.ts.
    cors: false,
    healthCheckEndpoint: '/health/yoga',
    multipart: false,
    maxRequestBodySize: false,
    graphiql: hasGraphiql && graphiqlOptions,
    renderGraphiQL: renderGraphiql,
    maskedErrors: { maskError, errorMessage: 'Something went wrong.' },
    context: ({ exchange, params }) => createContext(services, prisma, callerOf(exchange, params ?? {})),
    plugins: [
      useTokenLimit(),
      ...(hasIntrospection ? [] : [useNoIntrospection()]),
      useMeasurement(onField),
      {
        onResultProcess({ result, setResult, serverContext }) {
          const { client, response } = (serverContext as unknown as { exchange: Exchange }).exchange
          if (!('errors' in result) || !result.errors) return
          // Validation's own errors come past the masking.
          const errors = result.errors.map(maskError)
          // An answer with data is a success, whatever else it has: see statusOf.
          if (result.data) for (const { extensions } of errors) Reflect.deleteProperty(extensions, 'http')
          stampErrors({ errors }, client.correlationId, log)
          const retryAfter = retryAfterOf({ errors })
          if (retryAfter !== null && !response.headersSent) response.setHeader('retry-after', retryAfter)
          setResult({ ...result, errors })
        },
      },
    ],
  })
}

export type Graphql = ReturnType<typeof createGraphql>

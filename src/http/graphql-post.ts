import type { GraphQLParams } from 'graphql-yoga'
import type { Log } from '../ports.js'
import type { Exchange } from './exchange.js'
import type { Graphql } from './graphql.js'
import { retryAfterOf, stampErrors, statusOf } from './graphql-errors.js'
import { send } from './responses.js'

type Params = GraphQLParams & { query: string }

const JSON_TYPE = 'application/json'
const GRAPHQL_TYPE = 'application/graphql-response+json'

/** The media type to answer with; null where it takes a closer look at `accept`. */
function answerType(accept: string | undefined): string | null {
  if (!accept || accept === '*/*' || accept === JSON_TYPE) return JSON_TYPE
  if (accept.includes('event-stream') || accept.includes('multipart') || accept.includes('q=')) return null
  if (accept.includes(GRAPHQL_TYPE)) return GRAPHQL_TYPE
  return accept.includes(JSON_TYPE) || accept.includes('*/*') ? JSON_TYPE : null
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

function readParams(body: Buffer): Params | null {
  try {
    const { query, variables, operationName, extensions } = JSON.parse(body.toString()) as Record<string, unknown>
    const isPlain =
      typeof query === 'string' &&
      (variables == null || isRecord(variables)) &&
      (operationName == null || typeof operationName === 'string') &&
      extensions == null
    if (!isPlain) return null
    return { query, ...(variables != null && { variables }), ...(operationName != null && { operationName }) }
  } catch {
    return null
  }
}

interface Deps {
  graphql: Graphql
  log: Log
}

/**
 * The short way for what nearly every request is: a well-formed JSON POST of a valid query or mutation. It runs the same
 * pipeline without Yoga's fetch layer. Returns false, having done nothing, for anything else: Yoga answers that.
 */
export function createGraphqlPost({ graphql, log }: Deps) {
  return async (exchange: Exchange, body: Buffer): Promise<boolean> => {
    if (graphql.persistedOperations) return false
    const { request, head, client } = exchange
    const type = answerType(request.headers.accept)
    const params = type && readParams(body)
    const document = params && (await graphql.prepare(exchange, params))
    if (!document) return false
    const result = await graphql.run(exchange, document, params)
    stampErrors(result, client, log)
    const retryAfter = result.errors ? retryAfterOf(result) : null
    if (retryAfter !== null) head.set('retry-after', retryAfter)
    send(head, statusOf(result, type === JSON_TYPE), `${type}; charset=utf-8`, JSON.stringify(result))
    return true
  }
}

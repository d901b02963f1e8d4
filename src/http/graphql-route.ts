import { GraphQLError } from 'graphql'
import { ServiceUnavailableError } from '../errors.js'
import type { Log } from '../ports.js'
import type { Exchange } from './exchange.js'
import { graphiqlPage } from './graphiql.js'
import { type ErrorMasker, retryAfterOf } from './graphql-errors.js'
import { createGraphqlPost } from './graphql-post.js'
import { handleCors } from './headers.js'
import { readBody, sendErrors } from './responses.js'
import type { Graphql } from './yoga.js'

interface Deps {
  graphql: Graphql
  maskError: ErrorMasker
  log: Log
  isAllowedOrigin: (origin: string) => boolean
  hasGraphiql: boolean
  maxInFlight: number
  maxBodyBytes: number
}

const refusal = (message: string, issue: string) =>
  new GraphQLError(message, { extensions: { code: 'BAD_USER_INPUT', issues: [{ path: [], code: issue, message }] } })

const UNSUPPORTED_TYPE = refusal('POST application/json.', 'unsupported_media_type')
const NO_JSON = refusal('The body is not JSON.', 'invalid_json')
const BAD_METHOD = refusal('Use GET or POST.', 'method_not_allowed')

/** `application/json`, in UTF-8 if it says so: a simple form of another site can send none of it. */
const isJson = (contentType: string | undefined) =>
  /^application\/json\s*(;\s*charset\s*=\s*"?utf-?8"?\s*)?$/i.test(contentType ?? '')

/** A body with nothing but what GraphQL over HTTP defines: clients may send more. Null when it is no JSON. */
function readRequest(body: Buffer): string | null {
  try {
    const sent: unknown = JSON.parse(body.toString())
    if (typeof sent !== 'object' || sent === null || Array.isArray(sent)) return body.toString()
    const { query, variables, operationName, extensions } = sent as Record<string, unknown>
    return JSON.stringify({ query, variables, operationName, extensions })
  } catch {
    return null
  }
}

/** `/graphql` over HTTP: refuses what no GraphQL is needed to refuse, then takes the lean path or Yoga's. */
export function createGraphqlRoute(deps: Deps) {
  const { graphql, maskError, log, isAllowedOrigin, hasGraphiql, maxInFlight, maxBodyBytes } = deps
  const tooLarge = refusal(`The body is larger than ${maxBodyBytes} bytes.`, 'too_large')
  const post = createGraphqlPost({ graphql, log })
  let inFlight = 0

  async function throughYoga(exchange: Exchange, onStream: () => void): Promise<void> {
    const { request, head } = exchange
    if (hasGraphiql && request.method === 'GET' && request.headers.accept?.includes('text/html')) {
      head.set('content-security-policy', (await graphiqlPage()).contentSecurityPolicy)
    }
    await graphql.handle(request, head.handOver(), { exchange, onStream })
  }

  async function answer(exchange: Exchange, onStream: () => void): Promise<void> {
    const { request, head } = exchange
    if (request.method === 'GET' || request.method === 'HEAD') return throughYoga(exchange, onStream)
    if (request.method !== 'POST') {
      head.set('allow', 'GET, POST')
      return sendErrors(head, 405, BAD_METHOD)
    }
    if (!isJson(request.headers['content-type'])) return sendErrors(head, 415, UNSUPPORTED_TYPE)
    const body = await readBody(request, maxBodyBytes)
    if (!body) {
      head.set('connection', 'close')
      return sendErrors(head, 413, tooLarge)
    }
    if (await post(exchange, body)) return
    const sent = readRequest(body)
    if (sent === null) return sendErrors(head, 400, NO_JSON)
    // Where Yoga's adapter looks for a body that was read before it.
    Object.assign(request, { body: sent })
    await throughYoga(exchange, onStream)
  }

  return async (exchange: Exchange): Promise<void> => {
    const { request, head } = exchange
    if (handleCors(request, head, isAllowedOrigin)) return
    if (inFlight >= maxInFlight) {
      const error = maskError(new ServiceUnavailableError())
      head.set('retry-after', retryAfterOf({ errors: [error] }) ?? 1)
      return sendErrors(head, 503, error)
    }
    inFlight += 1
    let isCounted = true
    const release = () => {
      if (isCounted) inFlight -= 1
      isCounted = false
    }
    try {
      // A stream stays open for long and costs little meanwhile.
      await answer(exchange, release)
    } finally {
      release()
    }
  }
}

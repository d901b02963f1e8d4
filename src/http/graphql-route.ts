import { GraphQLError } from 'graphql'
import type { Log } from '../ports.js'
import type { Admission } from './admission.js'
import type { Exchange } from './exchange.js'
import { graphiqlPage } from './graphiql.js'
import { createGraphqlPost } from './graphql-post.js'
import { handleCors } from './headers.js'
import { readBody, sendErrors } from './responses.js'
import type { Graphql } from './yoga.js'

interface Deps {
  graphql: Graphql
  admission: Admission
  log: Log
  isAllowedOrigin: (origin: string) => boolean
  hasGraphiql: boolean
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
  const { graphql, admission, log, isAllowedOrigin, hasGraphiql, maxBodyBytes } = deps
  const tooLarge = refusal(`The body is larger than ${maxBodyBytes} bytes.`, 'too_large')
  const post = createGraphqlPost({ graphql, log })

  async function throughYoga(exchange: Exchange): Promise<void> {
    const { request, head } = exchange
    if (hasGraphiql && request.method === 'GET' && request.headers.accept?.includes('text/html')) {
      head.set('content-security-policy', (await graphiqlPage()).contentSecurityPolicy)
    }
    await graphql.handle(request, head.handOver(), { exchange })
  }

  async function answer(exchange: Exchange, body: Buffer): Promise<void> {
    if (await post(exchange, body)) return
    const sent = readRequest(body)
    if (sent === null) return sendErrors(exchange.head, 400, NO_JSON)
    // Where Yoga's adapter looks for a body that was read before it.
    Object.assign(exchange.request, { body: sent })
    await throughYoga(exchange)
  }

  return async (exchange: Exchange): Promise<void> => {
    const { request, head } = exchange
    if (handleCors(request, head, isAllowedOrigin) || admission.turnsAway(exchange)) return
    if (request.method === 'GET' || request.method === 'HEAD') {
      return admission.admit(exchange, () => throughYoga(exchange))
    }
    if (request.method !== 'POST') {
      head.set('allow', 'GET, POST')
      return sendErrors(head, 405, BAD_METHOD)
    }
    if (!isJson(request.headers['content-type'])) return sendErrors(head, 415, UNSUPPORTED_TYPE)
    // Not counted yet: clients that send slowly, or on purpose never end, take nobody's place.
    const body = await readBody(request, maxBodyBytes)
    if (body) return admission.admit(exchange, () => answer(exchange, body))
    head.set('connection', 'close')
    sendErrors(head, 413, tooLarge)
  }
}

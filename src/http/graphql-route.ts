import { isUtf8 } from 'node:buffer'
import type { ReadableStream } from 'node:stream/web'
import type { Log } from '../ports.js'
import { acceptable } from './accept.js'
import type { Admission } from './admission.js'
import type { Exchange } from './exchange.js'
import { urlOf } from './fields.js'
import { graphiqlPage } from './graphiql.js'
import type { Graphql } from './graphql.js'
import { badRequest } from './graphql-errors.js'
import { createGraphqlPost } from './graphql-post.js'
import { handleCors } from './headers.js'
import { readBody, send, sendError } from './responses.js'

interface Deps {
  graphql: Graphql
  admission: Admission
  log: Log
  isAllowedOrigin: (origin: string) => boolean
  hasGraphiql: boolean
  maxBodyBytes: number
}

/** What Yoga is told of where it is. */
const ENDPOINT = new URL('http://localhost/graphql')

const UNSUPPORTED_TYPE = badRequest('POST application/json.', 'unsupported_media_type')
const NO_JSON = badRequest('The body is not JSON.', 'invalid_json')
const NO_JSON_PARAMETER = badRequest('A parameter is not JSON.', 'invalid_json')
const NOT_ACCEPTABLE = badRequest(
  'Accept application/json or application/graphql-response+json; for subscriptions text/event-stream, or use a WebSocket.',
  'not_acceptable',
)
const BAD_METHOD = badRequest('Use GET or POST.', 'method_not_allowed')

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

/** Whether the parameters of a GET that hold JSON do. */
function hasReadableParameters(url: URL): boolean {
  try {
    for (const name of ['variables', 'extensions']) JSON.parse(url.searchParams.get(name) || 'null')
    return true
  } catch {
    return false
  }
}

/** What the edge says itself: how an answer is framed, which said twice could mislead a proxy, and that nobody stores it. */
const OURS: ReadonlySet<string> = new Set(['connection', 'content-length', 'transfer-encoding', 'cache-control'])

/** Sends what Yoga answers: a text at once, a stream as it comes. */
async function deliver({ head, transport }: Exchange, answer: Response): Promise<void> {
  if (answer.status === 406) return sendError(head, 406, NOT_ACCEPTABLE)
  for (const [name, value] of answer.headers) {
    const field = name.toLowerCase()
    if (!OURS.has(field)) head.set(field, value)
  }
  // A single result may come as one event: it is there already, and counts as unread until its client takes it.
  if (transport.stream && answer.body) return head.stream(answer.status, answer.body as ReadableStream)
  send(head, answer.status, null, await answer.text())
}

/** `/graphql` over HTTP: refuses what no GraphQL is needed to refuse, then takes the lean path or Yoga's. */
export function createGraphqlRoute(deps: Deps) {
  const { graphql, admission, log, isAllowedOrigin, hasGraphiql, maxBodyBytes } = deps
  const tooLarge = badRequest(`The body is larger than ${maxBodyBytes} bytes, or in very many pieces.`, 'too_large')
  const post = createGraphqlPost({ graphql, log })

  /** Without the URL of the client: its host has no say in anything. */
  const throughYoga = (exchange: Exchange, url: URL, accept: string, body: string | null): Promise<Response> => {
    const { method = 'GET', headers } = exchange.request
    headers.accept = accept
    if (body !== null) headers['content-type'] = 'application/json'
    return graphql.fetch(url.href, { method, headers: headers as Record<string, string>, body }, { exchange })
  }

  async function answerGet(exchange: Exchange): Promise<Response | null> {
    const { request, head } = exchange
    if (hasGraphiql && request.headers.accept?.includes('text/html')) {
      const { html, contentSecurityPolicy } = await graphiqlPage()
      head.set('content-security-policy', contentSecurityPolicy)
      send(head, 200, 'text/html; charset=utf-8', html)
      return null
    }
    const accept = acceptable(request.headers.accept)
    const url = urlOf(request)
    if (accept === null) sendError(head, 406, NOT_ACCEPTABLE)
    else if (hasReadableParameters(url)) return throughYoga(exchange, url, accept, null)
    else sendError(head, 400, NO_JSON_PARAMETER)
    return null
  }

  async function answerPost(exchange: Exchange, accept: string, body: Buffer): Promise<Response | null> {
    if (await post(exchange, body)) return null
    const sent = readRequest(body)
    if (sent !== null) return throughYoga(exchange, ENDPOINT, accept, sent)
    sendError(exchange.head, 400, NO_JSON)
    return null
  }

  /** A stream is under way no longer once it has begun. */
  async function finish(
    exchange: Exchange,
    text: string | Buffer,
    work: () => Promise<Response | null>,
  ): Promise<void> {
    const answer = await admission.admit(exchange, async () => {
      await graphql.takeRequestTurn(exchange.client.addressKey, text)
      return work()
    })
    if (answer) await deliver(exchange, answer)
  }

  return async (exchange: Exchange): Promise<void> => {
    const { request, head } = exchange
    if (handleCors(request, head, isAllowedOrigin) || admission.turnsAway(exchange)) return
    if (request.method === 'GET' || request.method === 'HEAD') {
      return finish(exchange, request.url ?? '', () => answerGet(exchange))
    }
    if (request.method !== 'POST') {
      head.set('allow', 'GET, POST')
      return sendError(head, 405, BAD_METHOD)
    }
    if (!isJson(request.headers['content-type'])) return sendError(head, 415, UNSUPPORTED_TYPE)
    const accept = acceptable(request.headers.accept)
    if (accept === null) return sendError(head, 406, NOT_ACCEPTABLE)
    // Not counted yet: clients that send slowly, or on purpose never end, take nobody's place.
    const body = await readBody(request, maxBodyBytes)
    if (!body) {
      head.set('connection', 'close')
      return sendError(head, 413, tooLarge)
    }
    // Read as text, all broken bytes would be the same sign, and passwords that differ in them the same password.
    if (!isUtf8(body)) return sendError(head, 400, NO_JSON)
    await finish(exchange, body, () => answerPost(exchange, accept, body))
  }
}

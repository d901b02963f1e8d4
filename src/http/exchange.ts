import type { IncomingMessage, ServerResponse } from 'node:http'
import { type GraphQLError, getOperationAST, parse } from 'graphql'
import type { GraphQLParams } from 'graphql-yoga'
import type { Caller } from '../context.js'
import type { Client } from '../services/client.js'
import type { OpenTicket } from './gate.js'
import type { Head } from './head.js'
import type { HttpTransport } from './transport.js'

/** One HTTP request and its response, with what the edge has found out about them. */
export interface Exchange {
  request: IncomingMessage
  response: ServerResponse
  /** What the response is to say of itself: set nothing on the response directly. */
  head: Head
  client: Client
  transport: HttpTransport
  /** For pages. */
  productName: string
  /** What counts it as under way, once it is admitted. */
  ticket: OpenTicket | null
  /** What is wrong with its document, once that was looked for. */
  invalid?: readonly GraphQLError[]
}

const BEARER = /^Bearer +([A-Za-z0-9._~+/-]+=*)$/i

/** The token of an Authorization header (RFC 6750); null when there is none of that kind. */
export const bearerOf = (header: string | undefined): string | null => (header && BEARER.exec(header)?.[1]) || null

/** Whether a document, which was read before, may change something; one that cannot be read may. */
function isMutation({ query = '', operationName }: GraphQLParams): boolean {
  try {
    return getOperationAST(parse(query), operationName)?.operation === 'mutation'
  } catch {
    return true
  }
}

/**
 * Who an exchange presents. An access token from a cookie counts for pages that we know only and, in a mutation, with the
 * CSRF proof only. No other page reads an answer, but each of its requests would use up the user's limits.
 */
export function callerOf({ request, client, transport, ticket }: Exchange, params: GraphQLParams): Caller {
  const bearer = bearerOf(request.headers.authorization)
  if (bearer || !transport.accessCookie)
    return { client, transport, ticket, accessToken: bearer, isProofMissing: false }
  const isProofMissing = transport.isForeign() || (isMutation(params) && !transport.hasCsrfProof())
  return { client, transport, ticket, accessToken: isProofMissing ? null : transport.accessCookie, isProofMissing }
}

import { type ExecutionResult, GraphQLError, type GraphQLErrorExtensions } from 'graphql'
import { RequestError, ServiceUnavailableError } from '../errors.js'
import type { Log } from '../ports.js'
import type { Client } from '../services/client.js'
import { issuesOf } from './issues.js'

/** What the HTTP status of a whole response says of an error without data. */
const STATUS: Readonly<Record<string, number>> = { RATE_LIMITED: 429, SERVICE_UNAVAILABLE: 503, CSRF_FAILED: 403 }
const RETRY_AFTER_SECONDS = 2

/** What the pipeline calls a document that it cannot read or that does not fit the schema. */
const GENERIC_CODES = new Set([
  'GRAPHQL_PARSE_FAILED',
  'GRAPHQL_VALIDATION_FAILED',
  'BAD_REQUEST',
  'OPERATION_RESOLUTION_FAILURE',
])

const TOO_COMPLEX = /more tha[nt] \d+ (tokens|comments)|introspection depth exceeded/

export type ErrorMasker = (error: unknown) => GraphQLError

/** What is wrong with a request as a whole. `http`: its status, where it is GraphQL that says so. */
export const badRequest = (message: string, code: string, http?: { status: number; spec?: boolean }) =>
  new GraphQLError(message, {
    extensions: { code: 'BAD_USER_INPUT', issues: [{ path: [], code, message }], ...(http && { http }) },
  })

function withStatus({ http, ...extensions }: GraphQLErrorExtensions): GraphQLErrorExtensions {
  const status = STATUS[String(extensions.code)]
  const value = status ? { status } : http
  // Not enumerable: for Yoga and the edge to read, not for the answer.
  if (value) Object.defineProperty(extensions, 'http', { value, enumerable: false, configurable: true })
  return extensions
}

const rootOf = (error: unknown): unknown =>
  error instanceof GraphQLError && error.originalError ? rootOf(error.originalError) : error

/** Of variables that do not fit nothing was executed; `spec`: only where the media type is GraphQL's own. */
const OF_A_VARIABLE = /^Variable "\$/
export const BEFORE_EXECUTION = { spec: true, status: 400 }
/** Whatever the media type. */
const NO_REQUEST = { status: 400 }

const MAX_MESSAGE = 300
const CONCERNING = /^Variable "\$\w+" got invalid value/

/** What GraphQL says of an error, without the values that it repeats: they may be long, and may be passwords. */
function messageOf({ message, originalError }: GraphQLError): string {
  let told = message
  const cause = `; ${originalError?.message}`
  if (CONCERNING.test(message) && message.endsWith(cause)) {
    const [subject = ''] = CONCERNING.exec(message) ?? []
    const [path = ''] = / at "[\w.[\]]+"$/.exec(message.slice(0, -cause.length)) ?? []
    told = subject + path + cause
  }
  const [withoutValue = ''] = told.split(/ values?: /, 1)
  return withoutValue.length > MAX_MESSAGE ? `${withoutValue.slice(0, MAX_MESSAGE)}…` : withoutValue
}

function describeGraphQL(error: GraphQLError): [message: string, extensions: GraphQLErrorExtensions] {
  const { code, http } = error.extensions
  // It may come here a second time: then `http` is not enumerable.
  if (code && !GENERIC_CODES.has(String(code))) return [error.message, { ...error.extensions, ...(http && { http }) }]
  const message = messageOf(error)
  if (TOO_COMPLEX.test(message)) return [message, { code: 'QUERY_TOO_COMPLEX', ...(http && { http }) }]
  // Yoga names the methods that it takes where something else is wrong.
  const isNoRequest = code === 'BAD_REQUEST' && (http as { status?: number } | undefined)?.status === 400
  const ofVariable = OF_A_VARIABLE.test(message) ? BEFORE_EXECUTION : undefined
  const status = isNoRequest ? NO_REQUEST : (http ?? ofVariable)
  return [message, { code: 'BAD_USER_INPUT', issues: issuesOf(error, message), ...(status && { http: status }) }]
}

/**
 * Turns whatever was thrown into an error of the contract. What is not expected becomes INTERNAL_SERVER_ERROR and says
 * nothing else; `originalError` keeps the truth for the log.
 */
export function createErrorMasker(isOutage: (error: unknown) => boolean): ErrorMasker {
  return (error) => {
    const root = rootOf(error)
    const place =
      error instanceof GraphQLError
        ? {
            nodes: error.nodes ?? null,
            source: error.source ?? null,
            positions: error.positions ?? null,
            path: error.path ?? null,
          }
        : {}
    const coded = (message: string, extensions: GraphQLErrorExtensions) =>
      new GraphQLError(message, {
        ...place,
        originalError: root instanceof Error ? root : new Error(String(root)),
        extensions: withStatus(extensions),
      })
    if (root instanceof RequestError) return coded(root.message, { code: root.code, ...root.details })
    if (isOutage(root)) {
      return coded('The service is busy. Try again in a moment.', {
        code: 'SERVICE_UNAVAILABLE',
        retryAfter: RETRY_AFTER_SECONDS,
      })
    }
    if (root instanceof GraphQLError) {
      // Without a code it is GraphQL's own: the root says what is wrong, the error around it in which variable.
      const told = root.extensions.code ? root : (error as GraphQLError)
      return coded(...describeGraphQL(told))
    }
    return coded('Something went wrong.', { code: 'INTERNAL_SERVER_ERROR' })
  }
}

/** What nobody meets by using the product: somebody tries what is not his, or a page is not configured. */
const SUSPICIOUS = new Set(['FORBIDDEN', 'CSRF_FAILED'])

/**
 * Writes internal errors and suspicious refusals to the log, and the correlation id by which to find the former there into
 * the answer.
 */
export function stampErrors(
  result: { errors?: readonly GraphQLError[] | undefined },
  { correlationId, ipAddress }: Pick<Client, 'correlationId' | 'ipAddress'>,
  log: Log,
): void {
  for (const error of result.errors ?? []) {
    const { path, originalError: err } = error
    const { code } = error.extensions
    if (code === 'SERVICE_UNAVAILABLE') {
      const why = err instanceof ServiceUnavailableError ? { reason: err.reason } : { err }
      log.warn({ ...why, correlationId }, 'A request was turned away')
    }
    if (SUSPICIOUS.has(String(code))) log.warn({ code, path, correlationId, ipAddress }, 'A request was refused')
    if (code !== 'INTERNAL_SERVER_ERROR') continue
    log.error({ err, correlationId, path }, 'A request failed')
    error.extensions.correlationId = correlationId
  }
}

/** The status of a response: what its errors say when there is no data beside them. */
export function statusOf({ data, errors }: ExecutionResult, isJson = true): number {
  if (!errors || data) return 200
  const statuses = errors.map(({ extensions: { http } }) => {
    const { status = 0, spec } = (http ?? {}) as { status?: number; spec?: boolean }
    return isJson && spec ? 0 : status
  })
  const highest = Math.max(...statuses)
  const isInternal = errors.some((error) => error.extensions.code === 'INTERNAL_SERVER_ERROR')
  return highest || (data === undefined && isInternal ? 500 : 200)
}

/** The status of a stream that is refused: a browser connects again and again where it is told 200. */
const REFUSALS: Readonly<Record<string, number>> = { ...STATUS, UNAUTHENTICATED: 401, FORBIDDEN: 403 }
export const refusalOf = ({ errors }: Required<Pick<ExecutionResult, 'errors'>>): number =>
  Math.max(
    ...errors.map(
      ({ extensions: { code } }) => REFUSALS[String(code)] ?? (code === 'INTERNAL_SERVER_ERROR' ? 500 : 400),
    ),
  )

/** Seconds after which to try again, if an error says so. */
export function retryAfterOf({ errors }: Pick<ExecutionResult, 'errors'>): number | null {
  const waits = (errors ?? []).flatMap(({ extensions: { retryAfter } }) =>
    typeof retryAfter === 'number' ? [retryAfter] : [],
  )
  return waits.length > 0 ? Math.max(...waits) : null
}

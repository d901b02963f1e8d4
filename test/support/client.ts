import { type DocumentNode, print } from 'graphql'
import { expectDiscretion, noteCookies, noteSecrets } from './secrets.js'

export interface Issue {
  path: string[]
  code: string
  message: string
}

export interface ApiError {
  message: string
  path?: (string | number)[]
  extensions: { code: string; issues?: Issue[]; retryAfter?: number; correlationId?: string }
}

export interface Answer<Data> {
  data: Data
  errors: readonly ApiError[]
  status: number
  headers: Headers
  /** The x-request-id: audit events name it as their correlationId. */
  requestId: string
}

/** The only error of an operation that was refused, beside the status and the headers of the answer. */
export interface Refusal extends ApiError {
  code: string
  status: number
  headers: Headers
  requestId: string
}

/** A document of the generated operations: it knows its variables and its result. */
export interface Operation<Data, Variables> extends DocumentNode {
  __apiType?: (variables: Variables) => Data
}
type VariablesArgument<Variables> = Record<string, never> extends Variables ? [Variables?] : [Variables]
type RootValue<Data> = Data[Exclude<keyof Data, '__typename'>]

/** Makes one HTTP request. What a browser adds of its own, such as cookies, is up to its implementation. */
export type Send = (init: { method: string; headers: Record<string, string>; body?: string }) => Promise<Response>

export interface Client {
  /** Runs the operation. Fails when the answer has errors. */
  execute<Data, Variables>(
    operation: Operation<Data, Variables>,
    ...variables: VariablesArgument<Variables>
  ): Promise<Answer<Data>>
  /** What the operation's only root field answers. Fails when the answer has errors. */
  call<Data, Variables>(
    operation: Operation<Data, Variables>,
    ...variables: VariablesArgument<Variables>
  ): Promise<RootValue<Data>>
  /** The error of an operation that is refused: variables are as wrong as they like. Fails when it is not refused. */
  refusal(operation: DocumentNode | string, variables?: object): Promise<Refusal>
  /** Sends any body, with whatever headers. */
  post(body: string, headers?: Record<string, string>): Promise<Answer<unknown>>
  /** The same caller, whose requests carry these headers too. */
  with(headers: Record<string, string>): Client
}

const JSON_TYPE = 'application/json'

/** Tells everything that is needed to find out what went wrong, on the server's side too. */
function complain(what: string, query: string, variables: unknown, answer: Answer<unknown>): never {
  const { status, requestId, data, errors } = answer
  const lines = [`${what} (status ${status}, x-request-id ${requestId})`, query, JSON.stringify(variables ?? {})]
  throw new Error([...lines, JSON.stringify({ data, errors }, null, 2)].join('\n'))
}

function parseBody(text: string, status: number): { data: unknown; errors?: ApiError[] } {
  try {
    return JSON.parse(text)
  } catch {
    throw new Error(`The answer is no JSON (status ${status}): ${text}`)
  }
}

/** Speaks GraphQL over HTTP, as a program that only knows the contract. */
export function createClient(send: Send, headers: Record<string, string> = {}): Client {
  async function post(body: string, more: Record<string, string> = {}): Promise<Answer<unknown>> {
    const sent = { 'content-type': JSON_TYPE, accept: JSON_TYPE, ...headers, ...more }
    const response = await send({ method: 'POST', headers: sent, body })
    const { data, errors = [] } = parseBody(await response.text(), response.status)
    const requestId = response.headers.get('x-request-id') ?? ''
    noteSecrets(data)
    noteCookies(response)
    expectDiscretion({ data, errors })
    return { data, errors, status: response.status, headers: response.headers, requestId }
  }

  const textOf = (operation: DocumentNode | string) => (typeof operation === 'string' ? operation : print(operation))
  const run = (query: string, variables: unknown) => {
    noteSecrets(variables)
    return post(JSON.stringify({ query, variables }))
  }

  async function execute<Data>(operation: DocumentNode, variables: unknown): Promise<Answer<Data>> {
    const query = textOf(operation)
    const answer = await run(query, variables)
    if (answer.errors.length > 0) complain('The operation failed', query, variables, answer)
    return answer as Answer<Data>
  }

  return {
    execute: (operation, ...[variables]) => execute(operation, variables),
    call: async <Data>(operation: DocumentNode, ...[variables]: unknown[]) => {
      const { data } = await execute<object>(operation, variables)
      return Object.values(data)[0] as RootValue<Data>
    },
    refusal: async (operation, variables) => {
      const query = textOf(operation)
      const answer = await run(query, variables)
      const [error, ...others] = answer.errors
      if (!error || others.length > 0) return complain('Not one error', query, variables, answer)
      const { status, headers, requestId } = answer
      return { ...error, code: error.extensions.code, status, headers, requestId }
    },
    post,
    with: (more) => createClient(send, { ...headers, ...more }),
  }
}

/** Narrows a result union to the member that it must be. Fails with the whole result when it is another one. */
export function expectType<Result extends { __typename: string }, Name extends Result['__typename']>(
  result: Result,
  name: Name,
): Extract<Result, { __typename: Name }> {
  if (result.__typename !== name) throw new Error(`Expected ${name}, got ${JSON.stringify(result, null, 2)}`)
  return result as Extract<Result, { __typename: Name }>
}

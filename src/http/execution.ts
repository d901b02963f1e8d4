import {
  type DocumentNode,
  type ExecutionArgs,
  type ExecutionResult,
  execute,
  type FragmentDefinitionNode,
  type GraphQLError,
  getOperationAST,
  Kind,
} from 'graphql'
import type { Context } from '../context.js'
import { ServiceUnavailableError } from '../errors.js'
import { openCaches } from '../executable-schema.js'
import { type Cap, tooManySubscriptions } from './caps.js'
import { subscribeWithIds } from './event-stream.js'
import type { ErrorMasker } from './graphql-errors.js'
import { rootFields } from './root-fields.js'
import { hasTooManyFields, tooManyFields } from './variables.js'

/** `code` is OK or that of the error. */
export type OnField = (field: string, code: string, seconds: number) => void

/** Of a variable, a few errors tell enough. */
const COERCION = { maxCoercionErrors: 5 }

/** Of what was refused as a whole there is no data, though its fields may be null: then the status of the answer tells of it. */
const isRefused = ({ data }: ExecutionResult, errors: readonly GraphQLError[]): boolean =>
  data != null &&
  Object.entries(data).every(
    ([key, value]) => value === null && errors.some(({ path, extensions }) => path?.[0] === key && extensions.http),
  )

export type Executor = (args: ExecutionArgs) => Promise<ExecutionResult>

interface Deps {
  maskError: ErrorMasker
  onField: OnField
  timeoutMs: number
  hideSuggestions: boolean
}

const fragmentIn =
  ({ definitions }: DocumentNode) =>
  (name: string) =>
    definitions.find(
      (one): one is FragmentDefinitionNode => one.kind === Kind.FRAGMENT_DEFINITION && one.name.value === name,
    )

/** Executes queries and mutations for every transport: measures their root fields by outcome, and masks their errors. */
export function createExecutor({ maskError, onField, timeoutMs, hideSuggestions }: Deps): Executor {
  /**
   * What the work gives, or SERVICE_UNAVAILABLE when it takes too long. Then it begins no further field; what it has begun
   * goes on, unheard, and counts as under way until it ends: so nobody can have more of it than may be.
   */
  const inTime = (work: Promise<ExecutionResult>, context: Context) =>
    new Promise<ExecutionResult>((resolve, reject) => {
      const giveUp = () => {
        context.isGivenUp = true
        context.ticket?.keepFor(work)
        resolve({ errors: [maskError(new ServiceUnavailableError('OPERATION_TIMEOUT'))] })
      }
      const timer = setTimeout(giveUp, timeoutMs)
      work.then(
        (result) => {
          clearTimeout(timer)
          resolve(result)
        },
        (error) => {
          clearTimeout(timer)
          reject(error)
        },
      )
    })

  function measure({ document, operationName }: ExecutionArgs, { errors }: ExecutionResult, startedAt: number): void {
    const seconds = (performance.now() - startedAt) / 1000
    const operation = getOperationAST(document, operationName)
    if (!operation) return
    for (const [key, field] of rootFields(operation, fragmentIn(document))) {
      // An error without a path is that of the whole operation.
      const code = errors?.find(({ path }) => !path || path[0] === key)?.extensions.code
      onField(field, String(code ?? 'OK'), seconds)
    }
  }

  return async (args) => {
    const startedAt = performance.now()
    const context = args.contextValue as Context
    const closeCaches = openCaches(context)
    const work = hasTooManyFields(args.variableValues)
      ? { errors: [tooManyFields()] }
      : execute({ hideSuggestions, options: COERCION, ...args })
    const result = work instanceof Promise ? await inTime(work, context) : work
    closeCaches()
    const errors = result.errors?.map(maskError)
    const masked = errors ? { ...result, ...(isRefused(result, errors) && { data: null }), errors } : result
    measure(args, masked, startedAt)
    return masked
  }
}

export type Events = AsyncIterableIterator<ExecutionResult>
export type Subscriber = (args: ExecutionArgs) => Promise<Events | ExecutionResult>

/** The same events; calls `onEnd` when they end, for whatever reason. */
export function withEnd(events: Events, onEnd: () => void): Events {
  const ending = async <Step extends IteratorResult<ExecutionResult>>(step: Promise<Step>, isLast: boolean) => {
    try {
      const taken = await step
      if (isLast || taken.done) onEnd()
      return taken
    } catch (error) {
      onEnd()
      throw error
    }
  }
  return {
    next: () => ending(events.next(), false),
    return: () => ending(events.return?.() ?? Promise.resolve({ done: true, value: undefined }), true),
    throw: (error) => ending(events.throw?.(error) ?? Promise.reject(error), true),
    [Symbol.asyncIterator]() {
      return this
    },
  }
}

interface SubscriberDeps {
  maskError: ErrorMasker
  perAddress: Cap
  perUser: Cap
  hideSuggestions: boolean
}

/** Subscribes for every transport, to as much at once as an address and a user may. */
export const createSubscriber =
  ({ maskError, perAddress, perUser, hideSuggestions }: SubscriberDeps): Subscriber =>
  async (args) => {
    if (hasTooManyFields(args.variableValues)) return { errors: [maskError(tooManyFields())] }
    const { client, viewer } = args.contextValue as Context
    const ofAddress = perAddress.take(client.addressKey)
    if (!ofAddress) return { errors: [tooManySubscriptions(perAddress)] }
    const ofUser = viewer ? perUser.take(viewer.user.id) : ofAddress
    const release = () => {
      ofAddress()
      ofUser?.()
    }
    try {
      const result = ofUser
        ? await subscribeWithIds({ ...args, hideSuggestions, options: COERCION })
        : { errors: [tooManySubscriptions(perUser)] }
      if (Symbol.asyncIterator in result) return withEnd(result, release)
      release()
      return result
    } catch (error) {
      release()
      throw error
    }
  }

import { defaultExtractPersistedOperationId, usePersistedOperations } from '@graphql-yoga/plugin-persisted-operations'
import { BEFORE_EXECUTION, badRequest } from './graphql-errors.js'

/** Documents by their SHA-256 in hex: the only ones that are executed. */
export type PersistedOperations = ReadonlyMap<string, string>

const refusal = () =>
  badRequest(
    'Send the SHA-256 of a known operation as extensions.persistedQuery.sha256Hash, and no document.',
    'not_persisted',
    BEFORE_EXECUTION,
  )

/** Over HTTP. */
export const onlyPersistedOperations = (operations: PersistedOperations) =>
  usePersistedOperations({
    getPersistedOperation: (hash) => operations.get(hash) ?? null,
    customErrors: { notFound: refusal, keyNotFound: refusal, persistedQueryOnly: refusal },
  })

interface Message {
  query: string
  extensions?: Record<string, unknown> | null | undefined
}

/** The document that a message over a WebSocket stands for. Throws unless it is a known one. */
export function persistedDocument(operations: PersistedOperations, { query, extensions }: Message): string {
  const params = { ...(extensions && { extensions }) }
  const hash = query ? null : defaultExtractPersistedOperationId(params, undefined as never, undefined as never)
  const document = hash === null ? undefined : operations.get(hash)
  if (document === undefined) throw refusal()
  return document
}

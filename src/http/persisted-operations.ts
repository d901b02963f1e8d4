import { defaultExtractPersistedOperationId, usePersistedOperations } from '@graphql-yoga/plugin-persisted-operations'
import { GraphQLError } from 'graphql'

/** Documents by their SHA-256 in hex: the only ones that are executed. */
export type PersistedOperations = ReadonlyMap<string, string>

function refusal(): GraphQLError {
  const message = 'Send the SHA-256 of a known operation as extensions.persistedQuery.sha256Hash, and no document.'
  const issues = [{ path: [], code: 'not_persisted', message }]
  return new GraphQLError(message, {
    extensions: { code: 'BAD_USER_INPUT', issues, http: { spec: true, status: 400 } },
  })
}

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

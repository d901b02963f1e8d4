import type { DocumentNode } from 'graphql'
import type { Plugin } from 'graphql-yoga'
import { LRUCache } from 'lru-cache'
import type { ReadingTurns } from './reading-turns.js'
import { tooDeep } from './variables.js'

const MAX_DOCUMENTS = 1000
/** A document takes thirty times as much memory as its text. */
const MAX_CACHED_CHARACTERS = 10_000
const MAX_DOCUMENT_CHARACTERS = 1_000_000

interface Params {
  variables?: unknown
  extensions?: unknown
}

/**
 * Keeps what is said beside a document as text: read, it takes up to twenty times as much memory. Returns what puts it back.
 * No closure has what was read, or that would be kept with it.
 */
function setAside(params: Params): () => void {
  const text = textOf(params)
  Object.assign(params, { variables: undefined, extensions: undefined })
  return () => void Object.assign(params, JSON.parse(text.toString()))
}

function textOf({ variables, extensions }: Params): Buffer {
  try {
    return Buffer.from(JSON.stringify({ variables, extensions }))
  } catch {
    throw tooDeep()
  }
}

/** Short documents that are valid: most requests repeat those of a few applications. Others take turns to be read. */
export function createDocuments(takeTurn: ReadingTurns) {
  const known = new LRUCache<string, DocumentNode>({
    max: MAX_DOCUMENTS,
    maxSize: MAX_DOCUMENT_CHARACTERS,
    sizeCalculation: (_, query) => query.length,
  })
  /** Of documents that are short enough to be kept. */
  const texts = new WeakMap<DocumentNode, string>()

  /** What was found valid is neither read nor looked at again, on any transport. */
  const plugin: Plugin = {
    onParse({ params: { source }, setParsedDocument }) {
      if (typeof source !== 'string' || source.length > MAX_CACHED_CHARACTERS) return
      const document = known.get(source)
      if (document) return setParsedDocument(document)
      return ({ result }) => void (result && !(result instanceof Error) && texts.set(result, source))
    },
    onValidate({ params: { documentAST }, setResult }) {
      const text = texts.get(documentAST)
      if (text === undefined) return
      if (known.get(text) === documentAST) return setResult([])
      return ({ valid }) => void (valid && known.set(text, documentAST))
    },
  }

  return {
    plugin,
    get: (query: string) => known.get(query),
    /**
     * Resolves when a document may be read: at once if it is known. One that is not takes long in one go, and nothing counts
     * those that are wrong. ServiceUnavailableError when too many wait. `params` are without their values meanwhile.
     */
    turnOf: async (caller: string, query: string, params: Params): Promise<void> => {
      if (known.has(query)) return
      const putBack = setAside(params)
      await takeTurn(caller)
      putBack()
    },
  }
}

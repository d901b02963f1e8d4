import type { DocumentNode } from 'graphql'
import type { Plugin } from 'graphql-yoga'
import { LRUCache } from 'lru-cache'

const MAX_DOCUMENTS = 1000
/** A document takes thirty times as much memory as its text. */
const MAX_CACHED_CHARACTERS = 10_000
const MAX_DOCUMENT_CHARACTERS = 1_000_000

/** Callers go on one by one, round robin; what has come from others is looked at after each. */
function createRoundRobin() {
  /** Who waits, by caller. Whoever had a turn comes last. */
  const lines = new Map<string, (() => void)[]>()
  let isTaken = false

  function next(): void {
    const [first] = lines
    isTaken = first !== undefined
    if (!first) return
    const [caller, [goOn, ...others]] = first
    lines.delete(caller)
    if (others.length > 0) lines.set(caller, others)
    goOn?.()
    setImmediate(next)
  }

  return (caller: string) =>
    new Promise<void>((resolve) => {
      lines.set(caller, [...(lines.get(caller) ?? []), resolve])
      if (!isTaken) next()
    })
}

/** Short documents that are valid: most requests repeat those of a few applications. */
export function createDocuments() {
  const known = new LRUCache<string, DocumentNode>({
    max: MAX_DOCUMENTS,
    maxSize: MAX_DOCUMENT_CHARACTERS,
    sizeCalculation: (_, query) => query.length,
  })
  /** Of documents that are short enough to be kept. */
  const texts = new WeakMap<DocumentNode, string>()
  const takeTurn = createRoundRobin()

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
     * those that are wrong.
     */
    turnOf: async (caller: string, query: string): Promise<void> => {
      if (!known.has(query)) await takeTurn(caller)
    },
  }
}

import type { DocumentNode } from 'graphql'
import type { Plugin } from 'graphql-yoga'
import { LRUCache } from 'lru-cache'
import { ServiceUnavailableError } from '../errors.js'
import { tooDeep } from './variables.js'

const MAX_DOCUMENTS = 1000
/** A document takes thirty times as much memory as its text. */
const MAX_CACHED_CHARACTERS = 10_000
const MAX_DOCUMENT_CHARACTERS = 1_000_000
/** JSON as long as this takes a turn before it is read: of thousands of names that takes milliseconds, up to four times over. */
export const LARGE_TEXT = 16_384

interface Waiter {
  goOn(): void
  giveUp(error: Error): void
}

/**
 * Callers go on one by one, round robin; what has come from others is looked at after each. Past `most` that wait, whoever has
 * most of them is refused his last: one caller keeps nobody else from a place.
 */
function createRoundRobin(most: number) {
  /** Who waits, by caller. Whoever had a turn comes last. */
  const lines = new Map<string, Waiter[]>()
  let waiting = 0
  let isTaken = false

  function next(): void {
    const [first] = lines
    isTaken = first !== undefined
    if (!first) return
    const [caller, [waiter, ...others]] = first
    lines.delete(caller)
    if (others.length > 0) lines.set(caller, others)
    waiting -= 1
    waiter?.goOn()
    setImmediate(next)
  }

  /** Among equals the one who has come, or had a turn, last. */
  function refuseOne(): void {
    let [longest, length] = ['', 0]
    for (const [caller, line] of lines) if (line.length >= length) [longest, length] = [caller, line.length]
    const refused = lines.get(longest)?.pop()
    if (length === 1) lines.delete(longest)
    waiting -= 1
    refused?.giveUp(new ServiceUnavailableError('Too many new documents wait to be read'))
  }

  return (caller: string) =>
    new Promise<void>((goOn, giveUp) => {
      lines.set(caller, [...(lines.get(caller) ?? []), { goOn, giveUp }])
      waiting += 1
      if (!isTaken) next()
      else if (waiting > most) refuseOne()
    })
}

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

/**
 * Short documents that are valid: most requests repeat those of a few applications. `mostWaiting`: so many others may wait to
 * be read.
 */
export function createDocuments(mostWaiting: number) {
  const known = new LRUCache<string, DocumentNode>({
    max: MAX_DOCUMENTS,
    maxSize: MAX_DOCUMENT_CHARACTERS,
    sizeCalculation: (_, query) => query.length,
  })
  /** Of documents that are short enough to be kept. */
  const texts = new WeakMap<DocumentNode, string>()
  const takeTurn = createRoundRobin(mostWaiting)

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
    /** For what takes long in one go before its document is seen: see LARGE_TEXT. ServiceUnavailableError when too many wait. */
    takeTurn,
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

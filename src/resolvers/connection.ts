import { type ResolveCursorConnectionArgs, resolveCursorConnection } from '@pothos/plugin-relay'
import { BadInputError } from '../errors.js'

interface PageArgs {
  first?: number | null | undefined
  last?: number | null | undefined
  after?: string | null | undefined
  before?: string | null | undefined
}

/** The rows between two of them, in the order of the list or, when reversed, from its end. */
export interface Page<Key> {
  after: Key | undefined
  before: Key | undefined
  limit: number
  isReversed: boolean
}

interface List<Row, Key> {
  toCursor(row: NoInfer<Row>): string
  /** Null for a text that is no cursor of the list. */
  fromCursor(cursor: string): Key | null
  load(page: Page<Key>): Promise<Row[]>
}

const DEFAULT_SIZE = 20
const MAX_SIZE = 100

/** A page of a list (Relay cursor connections). Throws BAD_USER_INPUT for a cursor that is not one of the list. */
export async function connect<Row extends object, Key>(args: PageArgs, list: List<Row, Key>) {
  const keyOf = (argument: 'after' | 'before', cursor: string | null | undefined): Key | undefined => {
    if (cursor == null) return undefined
    const key = list.fromCursor(cursor)
    if (key === null) throw new BadInputError([argument], 'Is not a cursor of this list.')
    return key
  }
  keyOf('after', args.after)
  keyOf('before', args.before)
  const { edges, pageInfo } = await resolveCursorConnection(
    { args, toCursor: list.toCursor, defaultSize: DEFAULT_SIZE, maxSize: MAX_SIZE },
    ({ after, before, limit, inverted }: ResolveCursorConnectionArgs) =>
      list.load({ after: keyOf('after', after), before: keyOf('before', before), limit, isReversed: inverted }),
  )
  if (edges.length === 0) return { edges, pageInfo: { ...pageInfo, startCursor: null, endCursor: null } }
  // Relay takes the last of the first; the library, with both, only the first.
  const { first, last } = args
  const surplus = first == null || last == null ? 0 : Math.max(0, edges.length - last)
  if (surplus === 0) return { edges, pageInfo }
  const rest = edges.slice(surplus)
  return { edges: rest, pageInfo: { ...pageInfo, hasPreviousPage: true, startCursor: rest[0]?.cursor ?? null } }
}

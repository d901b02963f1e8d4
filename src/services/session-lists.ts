import DataLoader from 'dataloader'
import { inBatches } from '../batches.js'
import type { Clock, Sql } from '../ports.js'
import type { SessionRecord } from './records.js'
import { NEWEST_FIRST, OLDEST_FIRST } from './session-statements.js'

interface Deps {
  sql: Sql
  clock: Clock
  idleTimeoutMs: number
}

/** A place in the list of sessions: the activity of the one that stands there, and its id. */
export interface SessionKey {
  activeAt: Date
  id: string
}

/** Where in the list, most recently active first, to read: strictly between the two. */
export interface SessionPage {
  after: SessionKey | undefined
  before: SessionKey | undefined
  limit: number
  /** From the end of the list. */
  isReversed: boolean
}

interface ListRequest extends SessionPage {
  userId: string
  includeEnded: boolean
}

const MAX_LISTS = 8

export function createSessionLists({ sql, clock, idleTimeoutMs }: Deps) {
  /** Pages that are asked for at about the same time are read by one statement. */
  const createLister = (statement: string) =>
    new DataLoader<ListRequest, SessionRecord[]>(async (requests) => {
      const now = clock.now()
      const pages = requests.map(({ userId, includeEnded, after, before, limit }, number) => ({
        number,
        userId,
        includeEnded,
        size: limit,
        afterAt: after?.activeAt,
        afterId: after?.id,
        beforeAt: before?.activeAt,
        beforeId: before?.id,
      }))
      const activeAfter = new Date(now.getTime() - idleTimeoutMs)
      const rows = await sql<SessionRecord & { page: number }>(statement, [JSON.stringify(pages), now, activeAfter])
      const lists: SessionRecord[][] = requests.map(() => [])
      for (const row of rows) lists[row.page]?.push(row)
      return lists
    }, inBatches(MAX_LISTS))
  const newestFirst = createLister(NEWEST_FIRST)
  const oldestFirst = createLister(OLDEST_FIRST)

  /** A page of the account's sessions, most recently active first. */
  return (userId: string, includeEnded: boolean, page: SessionPage): Promise<SessionRecord[]> =>
    (page.isReversed ? oldestFirst : newestFirst).load({ userId, includeEnded, ...page })
}

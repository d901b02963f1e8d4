import { randomUUID } from 'node:crypto'
import { setImmediate as letOthers, setTimeout as sleep } from 'node:timers/promises'
import { RISK_LEVELS } from '../audit-events.js'
import type { AuditEvent } from '../generated/prisma/client.js'
import type { EventBus, Log } from '../ports.js'
import type { Audit } from './audit.js'
import type { AuditFilter } from './audit-pages.js'
import { createOutageLog } from './outages.js'

interface Deps {
  audit: Audit
  bus: EventBus
  log: Log
}

/** The bus's channel on which a feed says that there are new events. The events themselves come from the database. */
const EVENTS = 'audit-events'
/** So long may an event go unnoticed while nobody subscribes, or when every wake-up call is lost. */
const POLL_MS = 500
/** Events of one burst are announced, sealed and read together. */
const GATHER_MS = 10
const PAGE = 500
/** So many go out, over all subscriptions, before the requests of others have their turn. */
const IN_ONE_GO = 25
/** A subscription outlives an outage of the database: it looks again. */
const RETRY_MS = 500
/** So many recent events are kept for all open subscriptions together; who lags behind more reads from the database. */
const RECENT = 2000

/** Whether an event passes a filter: the same rule as `page`, for events at hand. */
function matches(event: AuditEvent, filter: AuditFilter): boolean {
  const { ownerId, types, minRiskLevel, success, from, to, userId, sessionId, ipAddress } = filter
  return (
    (ownerId === undefined || event.userId === ownerId) &&
    (!types || types.includes(event.type)) &&
    (!minRiskLevel || RISK_LEVELS.indexOf(event.riskLevel) >= RISK_LEVELS.indexOf(minRiskLevel)) &&
    (success == null || event.success === success) &&
    (!from || event.occurredAt >= from) &&
    (!to || event.occurredAt < to) &&
    (!userId || event.userId === userId) &&
    (!sessionId || event.sessionId === sessionId) &&
    (!ipAddress || event.ipAddress === ipAddress)
  )
}

/**
 * The live end of the audit log. One reader a process follows the log by position; every subscriber has a cursor of its
 * own and takes what comes after it, from memory or, when it lags, from the database: no gap, no duplicate, no buffer
 * that grows with a slow subscriber.
 */
export function createFeed({ audit, bus, log }: Deps) {
  const self = randomUUID()
  let recent: AuditEvent[] = []
  /** Everything up to here was read. Null: nobody follows. */
  let head: bigint | null = null
  let following: Promise<void> = Promise.resolve()
  let isAwaited = false
  let gathering: NodeJS.Timeout | undefined
  let poll: NodeJS.Timeout | undefined
  let unsubscribe: (() => void) | undefined
  let subscribers = 0
  const waiting = new Set<() => void>()
  const listeners = new Set<(event: AuditEvent) => void>()
  const outage = createOutageLog(
    (error) => log.warn({ err: error }, 'The event feed could not be read'),
    () => log.info({}, 'The event feed is read again'),
  )
  const outageOfReplays = createOutageLog(
    (error) => log.warn({ err: error }, 'Subscriptions wait for the audit log, which cannot be read'),
    () => log.info({}, 'Subscriptions read the audit log again'),
  )

  async function advance(): Promise<void> {
    await audit.seal()
    for (let isEnd = false; !isEnd && head !== null; ) {
      const page = await audit.next(head, PAGE)
      isEnd = page.length < PAGE
      if (page.length === 0) return
      head = page.at(-1)?.position ?? head
      recent = [...recent, ...page].slice(-RECENT)
      for (const event of page) for (const listener of listeners) listener(event)
      for (const wake of waiting) wake()
      waiting.clear()
    }
  }

  /** One advance at a time; calls during one have one more follow it. */
  const follow = () => {
    if (isAwaited) return following
    isAwaited = true
    following = following
      .then(() => {
        isAwaited = false
        const succeeded = outage.attempt()
        return advance().then(succeeded)
      })
      .catch(outage.failed)
    return following
  }

  /** Without subscribers there is no hurry. */
  const followForSubscribers = () => {
    if (subscribers > 0) void follow()
  }

  const gather = () => {
    gathering ??= setTimeout(() => {
      gathering = undefined
      followForSubscribers()
      bus.publish(EVENTS, self)
    }, GATHER_MS)
  }

  /** Resolves when there is something after the position, or when the signal aborts. */
  const beyond = (position: bigint, signal: AbortSignal) =>
    new Promise<void>((resolve) => {
      if (signal.aborted || (head !== null && head > position)) return resolve()
      const wake = () => {
        signal.removeEventListener('abort', wake)
        waiting.delete(wake)
        resolve()
      }
      waiting.add(wake)
      signal.addEventListener('abort', wake)
    })

  /**
   * What comes after the position, and up to where that reaches: never to before it, though less was read here so far. What
   * was there when the subscription began comes from the log itself: what is personal in it may have been erased since it was
   * read into memory, or all of it removed. Null where what comes next has been removed.
   */
  async function since(
    position: bigint,
    filter: AuditFilter,
    begun: bigint,
  ): Promise<{ events: AuditEvent[] | null; upTo: bigint }> {
    const first = recent[0]
    const upTo = head !== null && head > position ? head : position
    if (first && position >= begun && first.position <= position + 1n) {
      // Positions have no gaps.
      const next = recent.slice(Number(position + 1n - first.position))
      return { events: next.filter((event) => matches(event, filter)), upTo }
    }
    const events = await audit.page(filter, { after: position, before: upTo + 1n }, PAGE, 'asc')
    // Only then: what is missing was removed before.
    if ((await audit.bounds()).removedUpTo > position) return { events: null, upTo }
    return { events, upTo: events.length < PAGE ? upTo : (events.at(-1)?.position ?? upTo) }
  }

  /** How many events all subscriptions have had since others had their turn. */
  let given = 0
  let turnOfOthers: Promise<void> | undefined

  /**
   * Clients that read as fast as they can would else have all of a page at once, for each of their subscriptions. All wait
   * for the same turn: after one of its own, each would go on with as many as are for all of them.
   */
  async function inMeasure(): Promise<void> {
    while (given >= IN_ONE_GO) {
      turnOfOthers ??= letOthers().then(() => {
        given = 0
        turnOfOthers = undefined
      })
      await turnOfOthers
    }
    given += 1
  }

  async function* read(filter: AuditFilter, after: bigint, signal: AbortSignal): AsyncGenerator<AuditEvent> {
    subscribers += 1
    try {
      await follow()
      const begun = head ?? after
      let position = after
      while (!signal.aborted) {
        const succeeded = outageOfReplays.attempt()
        const page = await since(position, filter, begun).catch(outageOfReplays.failed)
        if (!page) {
          await sleep(RETRY_MS, undefined, { signal }).catch(() => {})
          continue
        }
        succeeded()
        const { events, upTo } = page
        // Who resumes where this ends is told that there is a gap.
        if (!events) return
        for (const event of events) {
          await inMeasure()
          if (signal.aborted) return
          yield event
        }
        position = upTo
        await beyond(position, signal)
      }
    } finally {
      subscribers -= 1
    }
  }

  return {
    /** Tells that this process has committed events. */
    announce: gather,

    /** Follows the log until `stop`. */
    async start(): Promise<void> {
      head = (await audit.bounds()).head
      unsubscribe = bus.subscribe(EVENTS, (sender) => {
        if (sender !== self) followForSubscribers()
      })
      poll = setInterval(() => void follow(), POLL_MS)
      poll.unref()
    },

    async stop(): Promise<void> {
      clearInterval(poll)
      clearTimeout(gathering)
      unsubscribe?.()
      await following
    },

    /** Calls the listener with every event that this process reads. Returns the function that ends it. */
    onEvent(listener: (event: AuditEvent) => void): () => void {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },

    subscribers: () => subscribers,

    /**
     * Everything that matches after the position, in commit order, until the signal aborts.
     * `return` ends it at once, also while it waits.
     */
    events(filter: AuditFilter, after: bigint, signal: AbortSignal): AsyncIterableIterator<AuditEvent> {
      const closing = new AbortController()
      const events = read(filter, after, AbortSignal.any([signal, closing.signal]))
      return {
        next: () => events.next(),
        return: () => {
          closing.abort()
          return events.return(undefined)
        },
        [Symbol.asyncIterator]() {
          return this
        },
      }
    },
  }
}

export type Feed = ReturnType<typeof createFeed>

import type { AuditEventType } from '../audit-events.js'
import {
  DETECTION_RULES,
  type DetectionRule,
  isMailed,
  type MailedRule,
  type Threshold,
  type Thresholds,
} from '../detection-rules.js'
import type { Clock, GeoLocator, Log } from '../ports.js'
import type { Audit } from './audit.js'
import { byServer, type Client, originOf } from './client.js'
import type { Database, Transaction } from './database.js'
import * as statements from './detection-statements.js'
import { type Finding, QUESTIONS } from './detection-statements.js'
import type { Feed } from './feed.js'
import type { Mails } from './mails.js'
import type { Records } from './records.js'
import { judgeTravel } from './travel.js'

interface Deps {
  db: Database
  clock: Clock
  audit: Audit
  feed: Feed
  records: Records
  mails: Mails
  geo: GeoLocator
  log: Log
  thresholds: Thresholds
}

interface Judged {
  position: string
  id: string
  type: AuditEventType
  occurredAt: Date
  userId: string | null
  sessionId: string | null
  ipAddress: string | null
  userAgent: string | null
  city: string | null
  country: string | null
  correlationId: string | null
}

/** How far the log was judged, and how far it goes. */
interface Taken {
  position: string
  head: string
}

interface Raised {
  rule: DetectionRule
  event: Judged
  userId: string | null
}

const BATCH = 100
/** The feed wakes the detector; this is for the case that the process that was at it was killed. */
const POLL_MS = 5_000
/** What is older is history: nobody is alarmed or mailed about it. */
const MAX_AGE_MS = 86_400_000
/** A rule that fails so often in a row is passed by, so that the others go on. */
const MAX_FAILURES = 2

/** Whoever has caused an event. */
const clientOf = ({ correlationId, ipAddress, userAgent, city, country }: Judged): Client => ({
  ...byServer(correlationId ?? ''),
  ipAddress,
  userAgent,
  locate: () => ({ city, country }),
})

/**
 * Follows the audit log and raises what is suspicious in it, some time after the fact: no sign-in waits for it. One
 * process at a time judges; what it raises, the mails and how far it has come are one transaction, so that every event is
 * judged once, also when the process is killed; but by a rule that keeps failing not at all.
 */
export function createDetection({ db, clock, audit, feed, records, mails, geo, log, thresholds }: Deps) {
  const rules = Object.entries(thresholds) as [DetectionRule, Threshold][]
  const judgedTypes = new Set(rules.flatMap(([rule]) => QUESTIONS[rule].types))
  const typeNames = [...judgedTypes].join(',')
  const failures = new Map<DetectionRule, number>()
  let isDue = false
  let isStopped = false
  let running: Promise<void> | undefined
  let poll: NodeJS.Timeout | undefined
  let unsubscribe: (() => void) | undefined

  /** The next events that are judged, and what lies before those that are not too old. */
  async function next(
    tx: Transaction,
    { position, head }: Taken,
    oldest: Date,
  ): Promise<{ events: Judged[]; from: string }> {
    const after = (start: string) => tx.sql<Judged>(statements.NEXT, [start, head, typeNames, BATCH])
    const events = await after(position)
    if (!events[0] || events[0].occurredAt >= oldest) return { events, from: position }
    const [row] = await tx.sql<{ position: string }>(statements.BEFORE, [position, oldest])
    const from = row?.position ?? position
    return { events: await after(from), from }
  }

  async function ask(tx: Transaction, rule: DetectionRule, { limit, windowMs }: Threshold, range: unknown[]) {
    const found = await tx.sql<Finding>(QUESTIONS[rule].sql, [...range, limit, windowMs / 1000])
    const findings = rule === 'IMPOSSIBLE_TRAVEL' ? found.map((finding) => judgeTravel(finding, geo)) : found
    return findings
      .filter((finding) => finding !== null)
      .sort((one, other) => Number(BigInt(one.position) - BigInt(other.position)))
  }

  /** Raises a finding, unless the same was raised lately. */
  async function raise(tx: Transaction, rule: DetectionRule, event: Judged, finding: Finding, windowMs: number) {
    const { userId, subject, metadata } = finding
    const quietUntil = finding.quietUntil ?? new Date(event.occurredAt.getTime() + windowMs)
    const isNew = (await tx.sql(statements.RAISE, [rule, subject, quietUntil, event.occurredAt])).length > 0
    if (!isNew) return null
    const { riskLevel } = DETECTION_RULES[rule]
    await audit.record(tx, clientOf(event), {
      type: 'SUSPICIOUS_LOGIN',
      riskLevel,
      userId,
      sessionId: userId && event.sessionId,
      metadata: { rule, eventId: event.id, ...metadata },
    })
    return { rule, event, userId }
  }

  async function mailOwner(tx: Transaction, event: Judged, userId: string, reasons: MailedRule[]): Promise<void> {
    const user = await records.freshUser(userId, tx.sql)
    if (!user?.isActive) return
    await mails.send(tx, user, 'suspicious-login', { ...originOf(clientOf(event), event.occurredAt), reasons })
  }

  /** One mail for each sign-in, whatever was found; a sign-in from a new device has its mail already. */
  async function tellOwners(tx: Transaction, raised: readonly Raised[]): Promise<void> {
    const signIns = new Map<Judged, { userId: string; reasons: MailedRule[] }>()
    for (const { rule, event, userId } of raised) {
      if (!userId || !isMailed(rule)) continue
      signIns.set(event, { userId, reasons: [...(signIns.get(event)?.reasons ?? []), rule] })
    }
    if (signIns.size === 0) return
    const ids = [...signIns.keys()].map(({ sessionId }) => sessionId).filter(Boolean)
    const rows = await tx.sql<{ sessionId: string }>(statements.ON_NEW_DEVICES, [ids.join(',')])
    const told = new Set(rows.map(({ sessionId }) => sessionId))
    for (const [event, { userId, reasons }] of signIns) {
      if (!told.has(event.sessionId ?? '')) await mailOwner(tx, event, userId, reasons)
    }
  }

  async function judge(tx: Transaction, events: readonly Judged[], range: unknown[]): Promise<void> {
    const types = new Set(events.map(({ type }) => type))
    const byPosition = new Map(events.map((event) => [event.position, event]))
    const raised: Raised[] = []
    for (const [rule, threshold] of rules) {
      const failed = failures.get(rule) ?? 0
      if (failed >= MAX_FAILURES || !QUESTIONS[rule].types.some((type) => types.has(type))) continue
      const findings = await ask(tx, rule, threshold, range).catch((error) => {
        if (!db.isConnectionLost(error)) failures.set(rule, failed + 1)
        throw error
      })
      for (const finding of findings) {
        const event = byPosition.get(finding.position)
        const one = event && (await raise(tx, rule, event, finding, threshold.windowMs))
        if (one) raised.push(one)
      }
    }
    if (raised.length > 0) await tx.sql(statements.FORGET, [range[2]])
    await tellOwners(tx, raised)
  }

  /** The next events are for all rules again. */
  function reportPassedBy(): void {
    for (const [rule, count] of failures) {
      if (count >= MAX_FAILURES)
        log.error({ rule }, 'A rule of detection has failed: it has not judged the latest events')
    }
    failures.clear()
  }

  /** Judges the next events. Returns whether there may be more of them; null where another process is at it. */
  const step = () =>
    db.transaction(async (tx) => {
      const [taken] = await tx.sql<Taken>(statements.TAKE, [])
      if (!taken) return null
      if (taken.head === taken.position) return false
      const oldest = new Date(clock.now().getTime() - MAX_AGE_MS)
      const { events, from } = await next(tx, taken, oldest)
      const last = events[BATCH - 1]
      const to = last?.position ?? taken.head
      if (events.length > 0) await judge(tx, events, [from, to, oldest])
      await tx.sql(statements.ADVANCE, [to])
      return last !== undefined
    })

  async function run(): Promise<void> {
    // What the feed reads together is judged together.
    await Promise.resolve()
    while (isDue && !isStopped) {
      isDue = false
      try {
        for (let hasMore: boolean | null = true; hasMore && !isStopped; ) {
          hasMore = await step()
          if (hasMore !== null) reportPassedBy()
        }
      } catch (error) {
        log.warn({ err: error }, 'The audit log could not be judged')
      }
    }
    running = undefined
  }

  const wake = () => {
    isDue = true
    running ??= run()
  }

  return {
    /** Follows the log until `stop`. */
    start(): void {
      if (rules.length === 0) return
      unsubscribe = feed.onEvent(({ type }) => {
        if (judgedTypes.has(type)) wake()
      })
      poll = setInterval(wake, POLL_MS)
      poll.unref()
      wake()
    },

    async stop(): Promise<void> {
      isStopped = true
      unsubscribe?.()
      clearInterval(poll)
      await running
    },
  }
}

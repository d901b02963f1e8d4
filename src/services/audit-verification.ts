import type { AuditCheckpointKind } from '../generated/prisma/client.js'
import type { Clock, Sql } from '../ports.js'
import { type Break, GENESIS, type Link, walkChain } from './audit-chain.js'
import type { AuditCheckpoints } from './audit-checkpoints.js'

interface Deps {
  sql: Sql
  clock: Clock
  checkpoints: AuditCheckpoints
  /** How long events are kept. */
  retentionMs: number
  /** For how long an event may have waited for a signature. */
  intervalMs: number
}

export interface Verification {
  /** The positions that were looked at, both inclusive. */
  from: bigint
  to: bigint
  /** The last position of the log. */
  end: bigint
  /** How many events hold. */
  events: number
  /** How many checkpoints hold. */
  checkpoints: number
  /** How many of the anchors were compared, and hold. */
  anchors: number
  /** Up to here, a signature stands for the log; what comes later is only chained. */
  signedUpTo: bigint
  /** The first place where the log does not hold. */
  broken: Break | null
}

/** A place of the log as it once was. */
export interface Anchor {
  /** That it was there, or that everything up to it was removed. */
  kind: AuditCheckpointKind
  position: bigint
  /** Lower-case hex. */
  hash: string
  /** When it was signed. */
  at: Date
}

interface Range {
  /** The first position to look at, or the end of the log where that is before. Default: the first event that retention has left. */
  from?: bigint
  /** The last one. Default: the newest event. */
  to?: bigint
  /** At most so many positions. */
  count?: number
  /** What was signed before, as it was kept elsewhere. */
  anchors?: readonly Anchor[]
  onProgress?: (events: number) => void
}

const least = (value: bigint, ...others: readonly (bigint | undefined)[]): bigint =>
  others.reduce<bigint>((least, other) => (other !== undefined && other < least ? other : least), value)

/** Clocks differ, and removal and signing are done by the hour and by the minute. */
const SLACK_MS = 86_400_000

/** The first of the anchors that is not where it was. Those that are count as compared. */
function changedSince(links: readonly Link[], anchors: readonly Anchor[], result: Verification): Break | null {
  const hashes = new Map(links.map(({ position, hash }) => [position, Buffer.from(hash).toString('hex')]))
  const there = anchors.filter(({ position }) => hashes.has(position))
  const changed = there.find(({ position, hash }) => hashes.get(position) !== hash)
  if (changed) return { position: changed.position, reason: 'CHECKPOINT_MISMATCH' }
  result.anchors += there.length
  return null
}

/**
 * The first of the anchors whose event is gone though it was signed since a date. Not where an anchor says itself that
 * everything up to there was removed: a server did that.
 */
function goneTooSoon({ position: stub }: Link, anchors: readonly Anchor[], since: Date): Break | null {
  const removed = anchors.filter(({ kind, position }) => kind === 'RETENTION' && position <= stub)
  const gone = anchors.find(
    ({ position, at }) => position <= stub && at > since && removed.every((each) => each.position < position),
  )
  return gone ? { position: gone.position, reason: 'MISSING' } : null
}

const LINK = 'SELECT hash FROM audit_events WHERE position = $1::bigint'

/** Proves that no event of the log was changed or removed since it was sealed: see docs/audit-log.md. */
export function createAuditVerification({ sql, clock, checkpoints, retentionMs, intervalMs }: Deps) {
  /** What the first event that is looked at has to continue. Null: it is missing. */
  async function linkBefore(from: bigint): Promise<Link | null> {
    const [row] = await sql<{ hash: Uint8Array }>(LINK, [(from - 1n).toString()])
    return row ? { position: from - 1n, hash: row.hash } : null
  }

  /** Holds the checkpoints among some links against them. */
  async function compare(links: readonly Link[], result: Verification): Promise<Break | null> {
    const [first, last] = [links[0], links.at(-1)]
    if (!first || !last) return null
    for (const checkpoint of await checkpoints.between(first.position - 1n, last.position)) {
      const { position } = checkpoint
      const link = links[Number(position - first.position)]
      const isMatch = link !== undefined && Buffer.compare(link.hash, checkpoint.hash) === 0
      // What does not match is a break, whether or not the key can be read that tells who has signed it.
      const isGenuine = await checkpoints.isGenuine(checkpoint).catch((error) => !isMatch || Promise.reject(error))
      if (!isGenuine) return { position, reason: 'CHECKPOINT_FORGED' }
      if (!isMatch) return { position, reason: 'CHECKPOINT_MISMATCH' }
      result.checkpoints += 1
      result.signedUpTo = position
    }
    return null
  }

  async function verify({ from, to, count, anchors = [], onProgress }: Range): Promise<Verification> {
    const [stub, end] = await Promise.all([checkpoints.stub(), checkpoints.end()])
    const begin = stub ?? GENESIS
    const wanted = from === undefined ? 0n : least(from, end + 1n)
    const isPartial = wanted > begin.position + 1n
    const first = isPartial ? wanted : begin.position + 1n
    const last = least(end, to, count === undefined ? end : first - 1n + BigInt(count))
    const result: Verification = {
      from: first,
      to: last,
      end,
      events: 0,
      checkpoints: 0,
      anchors: 0,
      signedUpTo: 0n,
      broken: null,
    }
    if (stub && !isPartial) {
      const broken = { position: stub.position, reason: 'CHECKPOINT_FORGED' } as const
      if (!(await checkpoints.isGenuine(stub))) return { ...result, broken }
      result.signedUpTo = stub.position
      const since = new Date(clock.now().getTime() - retentionMs + intervalMs + SLACK_MS)
      const contradiction = changedSince([stub], anchors, result) ?? goneTooSoon(stub, anchors, since)
      if (contradiction) return { ...result, broken: contradiction }
    }
    const link = isPartial ? await linkBefore(first) : begin
    if (!link) return { ...result, broken: { position: first - 1n, reason: 'MISSING' } }
    const lost = anchors.find(({ position }) => position > end)
    if (lost) return { ...result, broken: { position: end + 1n, reason: 'MISSING' } }
    const walk = walkChain(sql, link, last)
    for (let step = await walk.next(); ; step = await walk.next()) {
      if (step.done) return { ...result, broken: step.value }
      const broken = changedSince(step.value, anchors, result) ?? (await compare(step.value, result))
      if (broken) return { ...result, broken }
      result.events += step.value.length
      onProgress?.(result.events)
    }
  }

  return async (range: Range = {}): Promise<Verification> => {
    const before = await checkpoints.stub()
    const result = await verify(range)
    // Retention may have removed events while they were looked for.
    const isOutrun = result.broken?.reason === 'MISSING' && (await checkpoints.stub())?.position !== before?.position
    return isOutrun ? verify(range) : result
  }
}

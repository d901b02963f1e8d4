import type { AuditCheckpoint, AuditCheckpointKind } from '../generated/prisma/client.js'
import type { Clock, Log } from '../ports.js'
import { type Break, GENESIS, type Link, walkChain } from './audit-chain.js'
import type { AuditSignatures } from './audit-signatures.js'
import type { Database } from './database.js'
import type { Feed } from './feed.js'
import type { SigningKeys } from './signing-keys.js'

interface Deps {
  db: Database
  clock: Clock
  log: Log
  signingKeys: SigningKeys
  signatures: AuditSignatures
  /** No event waits for longer for a signature. */
  intervalMs: number
}

const HEAD = 'SELECT position, hash FROM audit_events ORDER BY position DESC LIMIT 1'
const END =
  'SELECT greatest((SELECT max(position) FROM audit_events), (SELECT max(position) FROM audit_checkpoints), 0) AS end'
const OLDEST_UNSIGNED = `
  SELECT occurred_at AS "occurredAt" FROM audit_events
  WHERE position > (SELECT coalesce(max(position), 0) FROM audit_checkpoints) ORDER BY position LIMIT 1`
const FIRST_SINCE = 'SELECT min(position) AS position FROM audit_events WHERE occurred_at >= $1::timestamptz'
const REMOVE_EVENTS = `
  DELETE FROM audit_events WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM audit_events WHERE position <= $1::bigint ORDER BY position LIMIT 10000)) RETURNING position`
const REMOVE_CHECKPOINTS = `
  DELETE FROM audit_checkpoints WHERE position < $1::bigint OR (position = $1::bigint AND kind = 'CHECKPOINT')`

/** Signed statements about the chain of audit events, by the key that signs access tokens. */
export function createAuditCheckpoints({ db, clock, log, signingKeys, signatures, intervalMs }: Deps) {
  const { auditCheckpoint } = db.prisma
  /** The furthest signed place that this process has seen. */
  let seen = 0n

  async function sign(kind: AuditCheckpointKind, link: Link): Promise<void> {
    const jws = await signatures.place(kind, link)
    if (link.position > seen) seen = link.position
    // Kept elsewhere, the log lines show an end of the chain that was cut off.
    log.info({ position: link.position.toString(), jws }, 'The audit log was signed')
  }

  /** Whether a key of ours has signed it. One that nobody knows proves nothing, whoever says that it was ours. */
  async function isGenuine(checkpoint: AuditCheckpoint): Promise<boolean> {
    if (await signatures.isGood(checkpoint)) return true
    // Its key may have been withdrawn since: then another has signed it. Looked up once: a forger may change it at every look.
    const { kind, position } = checkpoint
    const renewed = await auditCheckpoint.findUnique({ where: { kind_position: { kind, position } } })
    return renewed !== null && signatures.isGood({ ...checkpoint, kid: renewed.kid, jws: renewed.jws })
  }

  /** From where the log can be told: what retention has left, or null for the first event. */
  const stub = () => auditCheckpoint.findFirst({ where: { kind: 'RETENTION' }, orderBy: { position: 'desc' } })

  function raiseAlarm({ position, reason }: Break): void {
    log.error({ position: position.toString(), reason }, 'The audit log was tampered with: it is signed no further')
  }

  async function isForged(checkpoint: AuditCheckpoint): Promise<boolean> {
    if (await isGenuine(checkpoint)) return false
    raiseAlarm({ position: checkpoint.position, reason: 'CHECKPOINT_FORGED' })
    return true
  }

  /** Whether retention has removed, meanwhile, what comes after a place. */
  async function isOutrun(from: Link): Promise<boolean> {
    const begin = await stub()
    return begin !== null && begin.position > from.position && !(await isForged(begin))
  }

  /** Whether everything between two places is as it was sealed, and happened before a date. It is worth a signature only then. */
  async function isIntact(from: Link, to: bigint, before?: Date): Promise<boolean> {
    const walk = walkChain(db.sql, from, to)
    let step = await walk.next()
    for (; !step.done; step = await walk.next()) {
      // A policy of the database can hide it from the search by its date, which the hash holds.
      const young = before && step.value.find(({ occurredAtMs }) => occurredAtMs >= before.getTime())
      if (!young) continue
      log.error(
        { position: young.position.toString() },
        'The audit log was tampered with: an event was to be removed before its time, and nothing is',
      )
      return false
    }
    if (step.value && !(await isOutrun(from))) raiseAlarm(step.value)
    return !step.value
  }

  /** The last place that a signature stands for, or where the log begins. Null: there is a forgery. */
  async function lastSigned(): Promise<Link | null> {
    // What is signed while this looks may be missing from what it finds.
    const expected = seen
    const newest = await auditCheckpoint.findFirst({ orderBy: [{ position: 'desc' }, { kind: 'desc' }] })
    if (newest && (await isForged(newest))) return null
    const last = newest ?? GENESIS
    // Whoever removes checkpoints, to have a forgery signed in their place, has to stop every server before.
    if (last.position < expected) {
      raiseAlarm({ position: expected, reason: 'CHECKPOINT_MISSING' })
      return null
    }
    if (last.position > seen) seen = last.position
    return last
  }

  /** Signs a place of the log, once everything before it has been verified. */
  async function signUpTo(to: Link): Promise<void> {
    const last = await lastSigned()
    if (last && last.position < to.position && (await isIntact(last, to.position))) await sign('CHECKPOINT', to)
  }

  async function head(): Promise<Link | null> {
    const [row] = await db.sql<{ position: string; hash: Uint8Array }>(HEAD, [])
    return row ? { position: BigInt(row.position), hash: row.hash } : null
  }

  /**
   * Signs anew what other keys have signed than the one that signs now: nothing rests on a key that is on its way out. A
   * checkpoint that is not genuine, or whose key cannot be read, stays as it is.
   */
  async function renew(): Promise<void> {
    const signer = await signingKeys.signer(0)
    for (const checkpoint of await auditCheckpoint.findMany({ where: { kid: { not: signer.kid } } })) {
      const { position, kid } = checkpoint
      const isLeft = await isForged(checkpoint).catch((error) => {
        log.error(
          { position: position.toString(), kid, err: error },
          'A checkpoint of the audit log cannot be signed anew',
        )
        return true
      })
      if (!isLeft) await signatures.renew(checkpoint, signer)
    }
    // Retired meanwhile, it has signed nothing more.
    if ((await signingKeys.signer(0)).kid !== signer.kid) await renew()
  }

  return {
    stub,
    isGenuine,
    signUpTo,
    renew,

    /** Signs the newest event, if one before it has waited for a signature for too long. */
    async signIfDue(): Promise<void> {
      const [oldest] = await db.sql<{ occurredAt: Date }>(OLDEST_UNSIGNED, [])
      if (!oldest || clock.now().getTime() - oldest.occurredAt.getTime() < intervalMs) return
      const end = await head()
      if (end) await signUpTo(end)
    },

    /** The checkpoints between two places, in order. */
    between: (after: bigint, to: bigint): Promise<AuditCheckpoint[]> =>
      auditCheckpoint.findMany({
        where: { kind: 'CHECKPOINT', position: { gt: after, lte: to } },
        orderBy: { position: 'asc' },
      }),

    /** The last position that an event or a checkpoint has; 0 without any. */
    async end(): Promise<bigint> {
      const [row] = await db.sql<{ end: string }>(END, [])
      return BigInt(row?.end ?? 0)
    },

    /**
     * Removes the events from before a date, and leaves a signed stub. Returns how many. A part of the log that does not
     * verify is kept: it is evidence.
     */
    async removeBefore(date: Date): Promise<number> {
      const [begin, end] = await Promise.all([stub(), head()])
      if (begin && (await isForged(begin))) return 0
      const from = begin ?? GENESIS
      const [first] = await db.sql<{ position: string | null }>(FIRST_SINCE, [date])
      const last = first?.position ? BigInt(first.position) - 1n : (end?.position ?? 0n)
      if (last > from.position) {
        if (!(await isIntact(from, last, date))) return 0
        await sign('RETENTION', await db.prisma.auditEvent.findUniqueOrThrow({ where: { position: last } }))
      }
      const removable = (last > from.position ? last : from.position).toString()
      let count = 0
      for (let batch = 1; batch > 0; count += batch) batch = (await db.sql(REMOVE_EVENTS, [removable])).length
      await db.sql(REMOVE_CHECKPOINTS, [removable])
      return count
    },
  }
}

export type AuditCheckpoints = ReturnType<typeof createAuditCheckpoints>

/**
 * Signs the log whenever it has grown by so many events. Every process tries; one statement a place is kept. Returns the
 * function that ends it, once what has begun is done: what is left unsigned others sign, or the next start.
 */
export function signEvery(feed: Feed, checkpoints: AuditCheckpoints, events: number, log: Log): () => Promise<void> {
  // In turn: each begins where the one before it has ended, and verifies nothing twice.
  let signing: Promise<void> = Promise.resolve()
  let isStopped = false
  const unsubscribe = feed.onEvent((event) => {
    if (event.position % BigInt(events) !== 0n) return
    signing = signing
      .then(() => (isStopped ? undefined : checkpoints.signUpTo(event)))
      .catch((error) => log.warn({ err: error }, 'The audit log could not be signed'))
  })
  return () => {
    isStopped = true
    unsubscribe()
    return signing
  }
}

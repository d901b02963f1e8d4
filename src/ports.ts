// What the rules need from outside (see infra/).

/** The time, as the rules of accounts, sessions and tokens know it. Tests move it; the windows of limits have clocks of their own. */
export interface Clock {
  now(): Date
}

/** argon2id in PHC string format, computed away from the event loop by a bounded pool. */
export interface Hashing {
  hash(password: string): Promise<string>
  /** A malformed hash is simply not a match. */
  verify(hash: string, password: string): Promise<boolean>
}

/** Each call takes a place in the queue for itself, and throws ServiceUnavailableError when there is none. */
export interface PasswordHasher extends Hashing {
  /**
   * Takes one for all that the work hashes, one after the other: what has begun is refused no more. Throws
   * ServiceUnavailableError before it begins.
   */
  inPlace<T>(work: (hashing: Hashing) => Promise<T>): Promise<T>
  /** A hash that no password fits, with today's parameters: checking it takes as long as checking a real one. */
  readonly unusable: string
  /** How many places may be taken for what happens one after the other: the rest is for everybody else. */
  readonly share: number
  /** True when the hash was made with other parameters than today's. */
  needsRehash(hash: string): boolean
}

export interface PasswordEstimator {
  /** zxcvbn's score, 0 to 4, given words that an attacker would try first, and whether it is among the most common ones. */
  estimate(password: string, words: readonly string[]): Promise<{ score: number; isCommon: boolean }>
}

export interface MailMessage {
  to: string
  subject: string
  text: string
  html: string
}

export interface SentMail extends MailMessage {
  sentAt: Date
}

export interface Mailer {
  /** Resolves when the transport has accepted the message; rejects otherwise, and the job `id` is tried again. */
  send(message: MailMessage, id: string): Promise<void>
  isReachable(): Promise<boolean>
}

/**
 * A lossy store in front of the record. An unreachable cache reads as empty and never throws.
 * Invalidation wins over a concurrent fill: for a while after it, `fill` of that key does nothing.
 */
export interface Cache {
  read(keys: readonly string[]): Promise<(string | null)[]>
  fill(entries: readonly { key: string; value: string }[], ttlSeconds: number): Promise<void>
  invalidate(keys: readonly string[]): Promise<void>
}

/** Wake-up calls between processes. May lose messages; nothing may depend on one. */
export interface EventBus {
  publish(channel: string, message: string): void
  /** Returns the function that ends the subscription. */
  subscribe(channel: string, listener: (message: string) => void): () => void
}

/** At most `max` calls in any window of `windowMs` for one key. */
export interface RateLimitRule {
  key: string
  max: number
  windowMs: number
}

export interface RateLimitVerdict {
  isAllowed: boolean
  /** The rule that refused or, when none did, the one with the fewest calls remaining. */
  limit: number
  remaining: number
  /** Milliseconds until the oldest counted call of that rule leaves its window. */
  resetMs: number
}

export interface RateLimitStore {
  /** Counts one call against all rules, or, when any of them is used up, against none. One atomic step. */
  consume(rules: readonly RateLimitRule[]): Promise<RateLimitVerdict>
}

export interface Place {
  city: string | null
  country: string | null
}

export interface Coordinates {
  /** Degrees north. */
  latitude: number
  /** Degrees east. */
  longitude: number
  /** The true place is probably no further away. */
  accuracyKm: number
}

export interface GeoLocator {
  locate(ipAddress: string): Place
  /** Null where the place is unknown, or known by no more than its country. */
  coordinates(ipAddress: string): Coordinates | null
}

/** k-anonymity range look-up: only the first five hex digits of the SHA-1 leave the process. */
export interface BreachChecker {
  /** Takes the password's SHA-1 in upper-case hex. Null when the service did not answer in time. */
  isBreached(sha1: string, timeoutMs: number): Promise<boolean | null>
}

export interface Jobs {
  /** Enqueues inside the caller's transaction, so that the job exists exactly when the change does. */
  enqueue(sql: Sql, queue: JobQueue, data: object): Promise<void>
  /** Has the queue looked at now rather than at the next poll. Call after the commit. */
  wake(queue: JobQueue): void
  /**
   * Marks a job that is under way as done, inside the transaction of what it does: both happen, once, or neither.
   * False when another run of the job has done it.
   */
  complete(sql: Sql, queue: JobQueue, id: string): Promise<boolean>
}

type JobQueue = 'send-email' | 'mail-request' | 'breach-check'

/** Runs one statement and returns its rows: on the pool (prepared), or inside a Prisma transaction. */
export type Sql = <Row = Record<string, unknown>>(text: string, values: readonly unknown[]) => Promise<Row[]>

export interface Log {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

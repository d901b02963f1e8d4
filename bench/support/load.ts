/** What a load generator is told to do: a closed loop on each connection. */
export interface LoadJob {
  port: number
  connections: number
  /** Until so many milliseconds have passed, ... */
  ms?: number
  /** ... or so many requests have been answered, over all connections. */
  count?: number
  /** Milliseconds between an answer and the next request of its connection. */
  pauseMs?: number
  /** Milliseconds from a request to the next one of its connection, at the latest when it is answered; instead of a pause. */
  everyMs?: number
  requests: LoadRequests
  /** Texts by which answers are told apart; the first that an answer contains counts. */
  outcomes: Record<string, string>
}

export type LoadRequests =
  /** Connection i sends the i-th, the (i + connections)-th, ... over and over. */
  | { kind: 'fixed'; wires: string[] }
  /** Every connection keeps to a chain of refresh tokens; BODY delivery. */
  | { kind: 'refresh'; tokens: string[]; query: string }

export interface LoadResult {
  perSecond: number
  answered: number
  /** Requests that got no answer. */
  lost: number
  /** Answers by outcome; what fits none is `other`. */
  outcomes: Record<string, number>
  /** By outcome, of those that occurred. */
  p99Of: Record<string, number>
  p50: number
  p99: number
  max: number
  /** An answer that fitted no outcome, to see what went wrong. */
  sample: string | null
  /** The newest token of each chain. */
  tokens: string[]
}

export const percentile = (sorted: ArrayLike<number>, share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length / 2
  return ((sorted[Math.ceil(middle) - 1] ?? 0) + (sorted[Math.floor(middle)] ?? 0)) / 2
}

import { ServiceUnavailableError } from '../errors.js'

/**
 * What has the same key happens one after the other, in this process; what fails keeps nothing else from its turn. Past `most`
 * at once, ServiceUnavailableError.
 */
export function createTurns(most = Number.POSITIVE_INFINITY) {
  const lines = new Map<string, { last: Promise<unknown>; length: number }>()

  /** `hasWaited`: others had their turn meanwhile, so that what was known before may not be true any more. */
  return async <T>(key: string, work: (hasWaited: boolean) => Promise<T>): Promise<T> => {
    const before = lines.get(key)
    if (before && before.length >= most) throw new ServiceUnavailableError('Too much of one kind waits for its turn')
    const turn = before ? before.last.then(() => work(true)) : work(false)
    const line = before ?? { last: turn, length: 0 }
    line.last = turn.catch(() => {})
    line.length += 1
    lines.set(key, line)
    try {
      return await turn
    } finally {
      line.length -= 1
      if (line.length === 0) lines.delete(key)
    }
  }
}

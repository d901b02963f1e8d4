import { ServiceUnavailableError } from '../errors.js'

/** So many characters are read in one go: of JSON with thousands of names that takes milliseconds. */
export const READ_IN_ONE_GO = 16_384
/** What is longer waits for its turn: others bring theirs at the same moment, and it may be read up to four times. */
export const LONG_TEXT = 2048

interface Waiter {
  length: number
  goOn(): void
  giveUp(error: Error): void
}

/**
 * Turns for what takes long to read. Callers go on one by one, round robin, until as much was read as may be in one go; then
 * what has come from others is looked at. Past `most` that wait, whoever has most of them is refused his last, with
 * ServiceUnavailableError: one caller keeps nobody else from a place.
 */
export function createReadingTurns(most: number) {
  /** Who waits, by caller. Whoever had a turn comes last. */
  const lines = new Map<string, Waiter[]>()
  let waiting = 0
  let left = READ_IN_ONE_GO

  function goOn(): void {
    const isFresh = left === READ_IN_ONE_GO
    // Those that are put back meanwhile come once more.
    for (const [caller, [waiter, ...others]] of lines) {
      if (left <= 0) break
      lines.delete(caller)
      if (others.length > 0) lines.set(caller, others)
      waiting -= 1
      left -= waiter?.length ?? 0
      waiter?.goOn()
    }
    if (isFresh && left < READ_IN_ONE_GO) setImmediate(begin)
  }
  function begin(): void {
    left = READ_IN_ONE_GO
    goOn()
  }

  /** Among equals the one who has come, or had a turn, last. */
  function refuseOne(): void {
    let [longest, length] = ['', 0]
    for (const [caller, line] of lines) if (line.length >= length) [longest, length] = [caller, line.length]
    const refused = lines.get(longest)?.pop()
    if (length === 1) lines.delete(longest)
    waiting -= 1
    refused?.giveUp(new ServiceUnavailableError('Too much waits to be read'))
  }

  /** Without a length it is the last that is read in one go. */
  return (caller: string, length = READ_IN_ONE_GO) =>
    new Promise<void>((resolve, giveUp) => {
      lines.set(caller, [...(lines.get(caller) ?? []), { length, goOn: resolve, giveUp }])
      waiting += 1
      goOn()
      if (waiting > most) refuseOne()
    })
}

export type ReadingTurns = ReturnType<typeof createReadingTurns>

import { ServiceUnavailableError } from '../errors.js'

/** A longer message takes a turn before it is read: of thousands of names that takes milliseconds. */
export const LARGE_MESSAGE = 16_384
/** So does a longer request, which may be read up to four times; other connections bring theirs at the same moment. */
export const LARGE_REQUEST = 2048

interface Waiter {
  goOn(): void
  giveUp(error: Error): void
}

/**
 * Turns for what takes long to read in one go. Callers go on one by one, round robin; what has come from others is looked at
 * after each. Past `most` that wait, whoever has most of them is refused his last, with ServiceUnavailableError: one caller
 * keeps nobody else from a place.
 */
export function createReadingTurns(most: number) {
  /** Who waits, by caller. Whoever had a turn comes last. */
  const lines = new Map<string, Waiter[]>()
  let waiting = 0
  let isTaken = false

  function next(): void {
    const [first] = lines
    isTaken = first !== undefined
    if (!first) return
    const [caller, [waiter, ...others]] = first
    lines.delete(caller)
    if (others.length > 0) lines.set(caller, others)
    waiting -= 1
    waiter?.goOn()
    setImmediate(next)
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

  return (caller: string) =>
    new Promise<void>((goOn, giveUp) => {
      lines.set(caller, [...(lines.get(caller) ?? []), { goOn, giveUp }])
      waiting += 1
      if (!isTaken) next()
      else if (waiting > most) refuseOne()
    })
}

export type ReadingTurns = ReturnType<typeof createReadingTurns>

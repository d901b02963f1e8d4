/**
 * Options of a DataLoader that does at once what many requests ask for in one turn of the event loop. A batch that is full
 * does not wait for the others: while it is under way, the process goes on with those.
 */
export function inBatches(size: number) {
  let last: { send: () => void; atEnd: NodeJS.Immediate } | null = null

  /** Called for the first of a batch, which is when the one before it is full, or sent. */
  const schedule = (send: () => void): void => {
    if (last) {
      clearImmediate(last.atEnd)
      last.send()
    }
    const atEnd = setImmediate(() => {
      last = null
      send()
    })
    last = { send, atEnd }
  }
  return { cache: false, maxBatchSize: size, batchScheduleFn: schedule }
}

/** What is asked for while it is being looked at is answered by the same look: those who ask much take no more of it. */
export function shared<T>(look: () => Promise<T>): () => Promise<T> {
  let underWay: Promise<T> | undefined
  return () => {
    underWay ??= look().finally(() => {
      underWay = undefined
    })
    return underWay
  }
}

/** What has the same key happens one after the other, in this process; what fails keeps nothing else from its turn. */
export function createTurns() {
  const last = new Map<string, Promise<unknown>>()

  /** `hasWaited`: others had their turn meanwhile, so that what was known before may not be true any more. */
  return async <T>(key: string, work: (hasWaited: boolean) => Promise<T>): Promise<T> => {
    const before = last.get(key)
    const turn = before ? before.then(() => work(true)) : work(false)
    const done = turn.catch(() => {})
    last.set(key, done)
    try {
      return await turn
    } finally {
      if (last.get(key) === done) last.delete(key)
    }
  }
}

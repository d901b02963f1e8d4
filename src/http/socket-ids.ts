/** An operation of a WebSocket, as the one that has its id. */
export interface Holder {
  /** What was said, or nothing ever when another operation has had the id since: its client would take it for the answer to that. */
  unlessReplaced<T>(said: T): Promise<T>
  isReplaced(): boolean
  /** Likewise, and nothing more is to be said. */
  conclude<T>(said: T): Promise<T>
  release(): void
}

/** Which operation of a connection has which id. */
export function createIds() {
  const holders = new Map<string, Holder>()
  /** For good: the next one may be through before the one that it replaces. */
  const replaced = new WeakSet<Holder>()
  return {
    /** A client may use an id again as soon as it has completed it; the operation before may still be going on here. */
    take(id: string): Holder {
      const holder: Holder = {
        unlessReplaced: (said) => (holder.isReplaced() ? new Promise(() => {}) : Promise.resolve(said)),
        conclude(said) {
          const last = holder.unlessReplaced(said)
          holder.release()
          return last
        },
        isReplaced: () => replaced.has(holder) || (holders.get(id) ?? holder) !== holder,
        release() {
          if (!holder.isReplaced()) holders.delete(id)
        },
      }
      const before = holders.get(id)
      if (before) replaced.add(before)
      holders.set(id, holder)
      return holder
    },
  }
}

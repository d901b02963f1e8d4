import { LRUCache } from 'lru-cache'

/** How long an invalidation keeps fills away. Has to exceed FILL_LIFE_MS by more than clocks can differ. */
export const TOMBSTONE_MS = 5000
/** A fill that arrives later after its read is refused: it may have been on its way for as long as the network likes. */
export const FILL_LIFE_MS = 4000
const MISS_LIFE_MS = 2000
const FORGET_MISS_MS = 60_000

interface Miss {
  since: number
  pending: number
  generation: string | null
  /** How far the clock of the cache is ahead, as it was then: ours stands still while the machine sleeps. */
  ahead: number
}

/**
 * Remembers when each key was read in vain, because a value that was read from the record long ago must not enter a cache:
 * its invalidation may have come and gone. A fill cannot say which read it belongs to, so as long as any read of a key
 * is outstanding, the age of the oldest one counts for all. `generation` names the state of the cache at that read.
 */
export function createMissLedger(now: () => number) {
  const misses = new LRUCache<string, Miss>({ max: 50_000 })
  return {
    note(key: string, at: number, generation: string | null, ahead = 0): void {
      const miss = misses.get(key)
      // Who has not filled after a minute never will: the record does not exist, or its read failed.
      if (miss && at - miss.since < FORGET_MISS_MS) miss.pending += 1
      else misses.set(key, { since: at, pending: 1, generation, ahead })
    },
    /** The generation under which a fill of the key is safe, and since when by the clock of the cache; null: drop the value. */
    take(key: string): { generation: string; since: number } | null {
      const miss = misses.get(key)
      if (!miss) return null
      miss.pending -= 1
      if (miss.pending <= 0) misses.delete(key)
      const { generation, since, ahead } = miss
      return generation !== null && now() - since <= MISS_LIFE_MS ? { generation, since: since + ahead } : null
    },
  }
}

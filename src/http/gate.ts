import type { Ticket } from '../context.js'

/** One thing that is under way. */
export interface OpenTicket extends Ticket {
  /** It has been answered. May be called more than once. */
  end(): void
}

export interface Gate {
  readonly max: number
  isFull(): boolean
  /** Counts one more; null when there are as many as may be. `onEnd` is called when it counts no longer. */
  take(onEnd?: () => void): OpenTicket | null
  /** Resolves when nothing is under way. */
  emptied(): Promise<void>
}

/** Bounds how much is under way at once: what was answered, but has left work behind, counts until that has ended too. */
export function createGate(max: number): Gate {
  let underWay = 0
  const waiting: (() => void)[] = []
  return {
    max,
    isFull: () => underWay >= max,
    emptied: async () => {
      if (underWay > 0) await new Promise<void>((resolve) => waiting.push(resolve))
    },
    take(onEnd) {
      if (underWay >= max) return null
      underWay += 1
      let parts = 1
      let isAnswered = false
      const endPart = () => {
        parts -= 1
        if (parts > 0) return
        underWay -= 1
        if (underWay === 0) for (const resolve of waiting.splice(0)) resolve()
        onEnd?.()
      }
      return {
        keepFor(work) {
          parts += 1
          work.then(endPart, endPart)
        },
        end() {
          if (!isAnswered) endPart()
          isAnswered = true
        },
      }
    },
  }
}

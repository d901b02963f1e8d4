import { GraphQLError } from 'graphql'
import type { Gate } from './gate.js'

const SUBSCRIPTION_SECONDS = 60
const OPERATION_SECONDS = 1

export interface Cap {
  readonly max: number
  /** Counts one more under the key. Null when there are as many as may be; else call it when that one has ended. */
  take(key: string): (() => void) | null
}

/** Bounds how much is open at once under each key, in this process. */
export function createCap(max: number): Cap {
  const open = new Map<string, number>()
  return {
    max,
    take(key) {
      const count = open.get(key) ?? 0
      if (count >= max) return null
      open.set(key, count + 1)
      let isOpen = true
      return () => {
        if (!isOpen) return
        isOpen = false
        const left = (open.get(key) ?? 0) - 1
        if (left > 0) open.set(key, left)
        else open.delete(key)
      }
    },
  }
}

/** What is refused because others of the same caller are open. Nobody knows until when. */
function capReached(message: string, limit: number, retryAfter: number): GraphQLError {
  const resetAt = new Date(Date.now() + retryAfter * 1000).toISOString()
  return new GraphQLError(message, {
    extensions: { code: 'RATE_LIMITED', retryAfter, limit, remaining: 0, resetAt },
  })
}

export const tooManySubscriptions = ({ max }: Cap) =>
  capReached('Too many subscriptions are open.', max, SUBSCRIPTION_SECONDS)

export const tooManyOperations = ({ max }: Gate) =>
  capReached('Too many operations of this connection are in progress.', max, OPERATION_SECONDS)

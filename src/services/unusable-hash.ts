import { randomToken } from '../crypto/secrets.js'
import type { PasswordHasher } from '../ports.js'

export type UnusableHash = () => Promise<string>

/**
 * A hash that no password fits, made once with today's parameters: checking it takes as long as checking a real one.
 * Rejects with ServiceUnavailableError while the queue is full; the next call tries again.
 */
export function createUnusableHash(hasher: PasswordHasher): UnusableHash {
  let hashing: Promise<string> | undefined
  return async () => {
    hashing ??= hasher.hash(randomToken())
    try {
      return await hashing
    } catch (error) {
      hashing = undefined
      throw error
    }
  }
}

import { WeakPasswordError } from '../errors.js'
import type { PasswordHasher } from '../ports.js'
import type { Breaches } from './breaches.js'
import type { Transaction } from './database.js'
import type { PasswordOwner, PasswordPolicy } from './password-policy.js'

/** A password that the policy has accepted. */
export interface NewPassword {
  hash: string
  /** Call in the transaction that stores the hash: has a job ask what the breach service did not answer. */
  settle(tx: Transaction, userId: string): Promise<void>
}

/** The one way from a candidate to a hash that may be stored. */
export function createNewPasswords(deps: { policy: PasswordPolicy; hasher: PasswordHasher; breaches: Breaches }) {
  const { policy, hasher, breaches } = deps
  return {
    /** Judges and hashes a candidate. Throws WeakPasswordError with every rule that it breaks. */
    async accept(password: string, owner: PasswordOwner): Promise<NewPassword> {
      const { score, violations, isBreachKnown } = await policy.assess(password, owner)
      if (violations.length > 0) throw new WeakPasswordError(score, violations)
      const hash = await hasher.hash(password)
      return {
        hash,
        settle: async (tx, userId) => {
          if (!isBreachKnown) await breaches.checkLater(tx, userId, password)
        },
      }
    },
  }
}

export type NewPasswords = ReturnType<typeof createNewPasswords>

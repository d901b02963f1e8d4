import type { KeyRing } from '../crypto/key-ring.js'
import { open, seal, sha1Hex } from '../crypto/secrets.js'
import type { BreachChecker, Jobs } from '../ports.js'
import type { Audit } from './audit.js'
import type { Client } from './client.js'
import type { Database, Transaction } from './database.js'

const contextOf = (userId: string) => `breach-check:${userId}`
const LOOKUP_TIMEOUT_MS = 10_000

interface Deps {
  db: Database
  audit: Audit
  jobs: Jobs
  breaches: BreachChecker
  keys: KeyRing
}

/** The breach check of a password that was accepted while the service was away. */
export function createBreaches({ db, audit, jobs, breaches, keys }: Deps) {
  return {
    /** Has a job ask later. It holds no more of the password than an encrypted digest. */
    async checkLater(tx: Transaction, userId: string, password: string): Promise<void> {
      const sealed = seal(keys.current, sha1Hex(password), contextOf(userId)).toString('base64')
      await jobs.enqueue(tx.sql, 'breach-check', { userId, sealed })
    },

    /** Records PASSWORD_FOUND_IN_BREACH when it is one. Throws while the service is away, so that the job comes back. */
    async check(client: Client, userId: string, sealed: string): Promise<void> {
      const sha1 = open(keys.all, Buffer.from(sealed, 'base64'), contextOf(userId))
      if (sha1 === null) return
      const isBreached = await breaches.isBreached(sha1, LOOKUP_TIMEOUT_MS)
      if (isBreached === null) throw new Error('The breach service did not answer')
      if (isBreached) await audit.record(db, client, { type: 'PASSWORD_FOUND_IN_BREACH', userId })
    },
  }
}

export type Breaches = ReturnType<typeof createBreaches>

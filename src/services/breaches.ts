import { openText, sealText } from '../crypto/envelopes.js'
import type { KeyRing } from '../crypto/key-ring.js'
import { sha1Hex } from '../crypto/secrets.js'
import type { BreachChecker, Clock, Jobs } from '../ports.js'
import type { Audit } from './audit.js'
import type { Client } from './client.js'
import type { Database, Transaction } from './database.js'
import type { Mails } from './mails.js'
import type { Records } from './records.js'

const contextOf = (userId: string) => `breach-check:${userId}`
const LOOKUP_TIMEOUT_MS = 10_000

/** What a job is to look up. */
export interface BreachCheck {
  userId: string
  /** The digest of the password, encrypted. */
  sealed: string
  /** RFC 3339. */
  chosenAt: string
}

interface Deps {
  db: Database
  clock: Clock
  audit: Audit
  jobs: Jobs
  breaches: BreachChecker
  records: Records
  mails: Mails
  keys: KeyRing
}

/** The breach check of a password that was accepted while the service was away. */
export function createBreaches({ db, clock, audit, jobs, breaches, records, mails, keys }: Deps) {
  return {
    /** Has a job ask later. It holds no more of the password than an encrypted digest. */
    async checkLater(tx: Transaction, userId: string, password: string): Promise<void> {
      const sealed = sealText(keys, sha1Hex(password), contextOf(userId))
      await jobs.enqueue(tx.sql, 'breach-check', { userId, sealed, chosenAt: clock.now() })
    },

    /**
     * Records PASSWORD_FOUND_IN_BREACH when it is one, and tells the owner, once for a job. Throws while the service is away,
     * or the key that sealed the digest is gone, so that the job comes back.
     */
    async check(client: Client, jobId: string, { userId, sealed, chosenAt }: BreachCheck): Promise<void> {
      const sha1 = openText(keys, sealed, contextOf(userId))
      const isBreached = await breaches.isBreached(sha1, LOOKUP_TIMEOUT_MS)
      if (isBreached === null) throw new Error('The breach service did not answer')
      if (!isBreached) return
      await db.transaction(async (tx) => {
        if (!(await jobs.complete(tx.sql, 'breach-check', jobId))) return
        await audit.record(tx, client, { type: 'PASSWORD_FOUND_IN_BREACH', userId })
        const owner = await records.freshUser(userId, tx.sql)
        // Nobody is told of a password that somebody else may have chosen with his address.
        if (owner?.emailVerifiedAt) await mails.send(tx, owner, 'password-in-breach', { chosenAt })
      })
    },
  }
}

export type Breaches = ReturnType<typeof createBreaches>

import { openText, sealText } from '../crypto/envelopes.js'
import type { KeyRing } from '../crypto/key-ring.js'
import type { Clock, Jobs, Place } from '../ports.js'
import type { Client } from './client.js'
import type { Transaction } from './database.js'

/** What a request asks for whose answer, and time, must not tell whether there is an account. */
export type MailRequest =
  | { kind: 'REGISTRATION'; userId: string }
  | { kind: 'VERIFICATION'; email: string }
  | { kind: 'RESET'; email: string }
  /** Null: the identifier that was locked has no account. */
  | { kind: 'LOCK'; userId: string | null; lockedUntil: string }

interface Envelope {
  request: MailRequest
  client: Omit<Client, 'locate'> & { place: Place }
  at: string
}

interface Deps {
  clock: Clock
  jobs: Jobs
  keys: KeyRing
}

const CONTEXT = 'mail-request'

/** One job for each request: the request does nothing else, and a worker does what there is to do, as its client. */
export function createMailRequests({ clock, jobs, keys }: Deps) {
  return {
    /** The job exists exactly when the transaction commits. While it waits it is encrypted: it names an address. */
    async ask(tx: Transaction, { locate, ...client }: Client, request: MailRequest): Promise<void> {
      const envelope: Envelope = { request, client: { ...client, place: locate() }, at: clock.now().toISOString() }
      const sealed = sealText(keys, JSON.stringify(envelope), CONTEXT)
      await jobs.enqueue(tx.sql, 'mail-request', { sealed })
      // A registration is followed by about the same work for every address. The others wait for the next poll, so that
      // this work does not fall into the time of what the same caller asks for next.
      if (request.kind === 'REGISTRATION') await tx.afterCommit(() => jobs.wake('mail-request'))
    },

    /** Opens what `ask` enqueued. Throws when it was sealed under a key that is gone. */
    open(sealed: string): { request: MailRequest; client: Client; at: Date } {
      const { request, client, at } = JSON.parse(openText(keys, sealed, CONTEXT)) as Envelope
      const { place, ...rest } = client
      return { request, client: { ...rest, locate: () => place }, at: new Date(at) }
    },
  }
}

export type MailRequests = ReturnType<typeof createMailRequests>

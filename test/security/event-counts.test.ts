import { expect, test } from 'vitest'
import { NEXT_PASSWORD, startApp } from '../support/app.js'
import type { Answer } from '../support/client.js'
import {
  LoginDocument,
  RegisterDocument,
  RequestPasswordResetDocument,
  ResendVerificationEmailDocument,
} from '../support/generated/graphql.js'

// Whoever has an account sees by the cursors of his events how far the log goes: how many events a stranger's request has
// must not tell whether there is an account, nor whether a mail was withheld.
const app = await startApp()

const ASK: Record<string, (email: string) => Promise<Answer<unknown>>> = {
  register: (email) => app.anonymous.execute(RegisterDocument, { input: app.newAccount({ email }) }),
  requestPasswordReset: (email) => app.anonymous.execute(RequestPasswordResetDocument, { input: { email } }),
  resendVerificationEmail: (email) => app.anonymous.execute(ResendVerificationEmailDocument, { input: { email } }),
  login: (identifier) =>
    app.anonymous.execute(LoginDocument, { input: { identifier, password: NEXT_PASSWORD, tokenDelivery: 'BODY' } }),
}

/** More often than a mailbox gets mails of a kind, and than an identifier can be guessed at. */
const TIMES = 9

test.each(Object.keys(ASK))(
  '%s: as many events with an account as without, also when no more mails are sent',
  async (field) => {
    const ask = ASK[field] as (email: string) => Promise<Answer<unknown>>
    async function countsFor(email: string): Promise<number[]> {
      const counts: number[] = []
      for (let time = 1; time <= TIMES; time += 1) counts.push((await app.eventsFrom(await ask(email))).length)
      return counts
    }
    const { email } = await app.newUser({ email: `known-${field.toLowerCase()}@example.com` })
    const unknown = await countsFor(`unknown-${field.toLowerCase()}@example.com`)
    expect(unknown.every((count) => count > 0)).toBe(true)
    expect(await countsFor(email)).toEqual(unknown)
  },
)

import { expect, test } from 'vitest'
import { NEXT_PASSWORD, startApp } from '../support/app.js'
import type { Answer } from '../support/client.js'
import {
  AuditLogDocument,
  LoginDocument,
  RegisterDocument,
  RequestPasswordResetDocument,
  ResendVerificationEmailDocument,
} from '../support/generated/graphql.js'

// How many events a request has must not tell whether there is an account, nor whether a mail was withheld; nor does a member
// see in the cursors of his own events how many there are.
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

test('the cursors of one’s own events do not tell how many of others lie between them', async () => {
  const ada = await app.newUser()
  const cursorsOf = async () => (await ada.call(AuditLogDocument, { first: 100 })).edges.map(({ cursor }) => cursor)
  const before = await cursorsOf()
  await ada.logIn()
  const [newest = ''] = await cursorsOf()
  expect(before).not.toContain(newest)
  const texts = [newest, ...before].map((cursor) => Buffer.from(cursor, 'base64url'))
  expect(texts.map(({ length }) => length)).toEqual(texts.map(() => 16))
  // Neighbours in the log have nothing in common: no byte of nearly all of them is the same.
  for (let index = 0; index < 16; index += 1) expect(new Set(texts.map((text) => text[index])).size).toBeGreaterThan(1)
  const { code } = await ada.refusal('query ($after: String) { auditLog(after: $after) { edges { cursor } } }', {
    after: Buffer.from('audit:1').toString('base64url'),
  })
  expect(code).toBe('BAD_USER_INPUT')
})

import pg from 'pg'
import { expect, onTestFinished, test } from 'vitest'
import { NEXT_PASSWORD, startApp } from '../support/app.js'
import { expectType } from '../support/client.js'
import {
  RegisterDocument,
  RequestPasswordResetDocument,
  ResetPasswordDocument,
  VerifyEmailDocument,
} from '../support/generated/graphql.js'
import { proofOf, SUBJECTS } from '../support/mailbox.js'
import { OBSERVED, observeRequests } from '../support/observation.js'

const app = await startApp()
const caller = app.anonymous.with(OBSERVED)

const FIELDS = {
  verifyEmail: {
    /** Has a mail with a code sent. */
    ask: (email: string) => app.anonymous.execute(RegisterDocument, { input: app.newAccount({ email }) }),
    subject: SUBJECTS.verification,
    guess: (email: string, code: string) => caller.call(VerifyEmailDocument, { input: { email, code } }),
  },
  resetPassword: {
    ask: async (email: string) => {
      await app.newUser({ email })
      return app.anonymous.execute(RequestPasswordResetDocument, { input: { email } })
    },
    subject: SUBJECTS.reset,
    guess: (email: string, code: string) =>
      caller.call(ResetPasswordDocument, { input: { email, code, newPassword: NEXT_PASSWORD } }),
  },
}

test.each(Object.entries(FIELDS))(
  '%s: a wrong code takes the same statements and one commit, whether or not a mail waits',
  async (name, { ask, subject, guess }) => {
    const email = `ada-${name.toLowerCase()}@example.com`
    await ask(email)
    const { code } = proofOf(await app.mail(email, subject))
    const wrong = code === '123456' ? '654321' : '123456'
    const observed = observeRequests()
    expect(await guess('nobody@example.com', wrong)).toMatchObject({ code: 'INVALID_TOKEN' })
    expect(await guess(email, wrong)).toMatchObject({ code: 'INVALID_TOKEN' })
    const [unknown, waiting] = observed
    expect(waiting).toEqual(unknown)
    expect(
      waiting?.statements.map((text) => /BEGIN|COMMIT|pg_advisory_xact_lock|code_guesses|audit_inbox/.exec(text)?.[0]),
    ).toEqual([...['BEGIN', 'pg_advisory_xact_lock', 'code_guesses', 'audit_inbox', 'COMMIT']])
  },
)

test('Of twenty guesses at once, five are compared with the code, which is dead then', async () => {
  const { email } = await app.register()
  const { code } = proofOf(await app.mail(email, SUBJECTS.verification))
  const others = Array.from({ length: 20 }, (_, step) => String((Number(code) + step + 1) % 1_000_000).padStart(6, '0'))
  const database = new pg.Client(app.installation.databaseUrl)
  await database.connect()
  onTestFinished(() => database.end())
  const compared = async () => (await database.query('SELECT sum(compared)::int AS sum FROM code_guesses')).rows[0].sum
  const before = await compared()
  await Promise.all(others.map((wrong) => FIELDS.verifyEmail.guess(email, wrong)))
  expect((await compared()) - before).toBe(5)
  expect(await FIELDS.verifyEmail.guess(email, code)).toMatchObject({ code: 'INVALID_TOKEN' })
})

test('The right code is no guess: however many weak passwords come with it, it is good', async () => {
  const email = 'grace@example.com'
  await FIELDS.resetPassword.ask(email)
  const { code } = proofOf(await app.mail(email, SUBJECTS.reset))
  const choose = (newPassword: string) =>
    app.anonymous.call(ResetPasswordDocument, { input: { email, code, newPassword } })
  for (let time = 1; time <= 6; time += 1) expect(await choose('password')).toMatchObject({ code: 'WEAK_PASSWORD' })
  expectType(await choose(NEXT_PASSWORD), 'ResetPasswordSuccess')
})

test('The code of a mail ends with the next one of its kind, and not with another', async () => {
  const open = await startApp({ env: { REQUIRE_VERIFIED_EMAIL: 'false' } })
  const { email } = await open.register()
  const { code } = proofOf(await open.mail(email, SUBJECTS.verification))
  await open.anonymous.call(RequestPasswordResetDocument, { input: { email } })
  await open.mail(email, SUBJECTS.reset)
  expectType(await open.anonymous.call(VerifyEmailDocument, { input: { email, code } }), 'VerifyEmailSuccess')
})

test('After twenty wrong codes of an address no code is good, and the next day one is again', async () => {
  const { email } = await app.newUser()
  const { guess } = FIELDS.resetPassword
  async function ask(): Promise<string> {
    await app.anonymous.call(RequestPasswordResetDocument, { input: { email } })
    return proofOf(await app.mail(email, SUBJECTS.reset)).code
  }
  for (let mail = 0; mail < 4; mail += 1) {
    const code = Number(await ask())
    for (let step = 1; step <= 5; step += 1) await guess(email, String((code + step) % 1_000_000).padStart(6, '0'))
    app.clock.advance('10m')
  }
  expect(await guess(email, await ask())).toMatchObject({ code: 'INVALID_TOKEN' })
  app.clock.advance('24h')
  expectType(await guess(email, await ask()), 'ResetPasswordSuccess')
})

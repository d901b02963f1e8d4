import { describe, expect, test } from 'vitest'
import { NEXT_PASSWORD, type NewAccount, startApp } from '../support/app.js'
import { expectType } from '../support/client.js'
import {
  ExchangeTokenDocument,
  LoginDocument,
  MeDocument,
  RegisterDocument,
  RequestPasswordResetDocument,
  ResendVerificationEmailDocument,
  ResetPasswordDocument,
  VerifyEmailDocument,
  type VerifyEmailInput,
} from '../support/generated/graphql.js'
import { proofOf, SUBJECTS } from '../support/mailbox.js'

const app = await startApp()
const { anonymous, clock } = app

const verify = (input: VerifyEmailInput) => anonymous.call(VerifyEmailDocument, { input })
const resend = (email: string) => anonymous.call(ResendVerificationEmailDocument, { input: { email } })
const exchange = (token: string) => anonymous.call(ExchangeTokenDocument, { input: { token, tokenDelivery: 'BODY' } })
const logIn = ({ email, password }: { email: string; password: string }) =>
  anonymous.call(LoginDocument, { input: { identifier: email, password, tokenDelivery: 'BODY' } })
const proofFor = async ({ email }: NewAccount) => proofOf(await app.mail(email, SUBJECTS.verification))
const otherThan = (code: string, step = 1) => String((Number(code) + step) % 1_000_000).padStart(6, '0')

const INVALID_TOKEN = {
  __typename: 'InvalidTokenError',
  code: 'INVALID_TOKEN',
  message: 'The token or code is invalid or has expired.',
}

describe('the mail', () => {
  test('verifies the address by the token of its link', async () => {
    const account = await app.register()
    const { token } = await proofFor(account)
    const answer = await anonymous.execute(VerifyEmailDocument, { input: { token } })
    const { email, exchangeToken } = expectType(answer.data.verifyEmail, 'VerifyEmailSuccess')
    expect(email).toBe(account.email)
    expect(exchangeToken.length).toBeGreaterThanOrEqual(43)
    expect(await app.eventsFrom(answer)).toEqual(['EMAIL_VERIFIED'])
    expectType(await logIn(account), 'LoginSuccess')
  })

  test('verifies the address by its code, in whatever spelling the address comes', async () => {
    const account = await app.register({ email: 'Hedy.Lamarr@gmail.com' })
    const { code } = await proofFor(account)
    const { email } = expectType(await verify({ email: 'hedylamarr@googlemail.com', code }), 'VerifyEmailSuccess')
    expect(email).toBe('Hedy.Lamarr@gmail.com')
  })

  test.each(['token', 'code'] as const)('works once: its %s is refused the second time', async (kind) => {
    const account = await app.register()
    const { token, code } = await proofFor(account)
    const input = kind === 'token' ? { token } : { email: account.email, code }
    expectType(await verify(input), 'VerifyEmailSuccess')
    const again = await anonymous.execute(VerifyEmailDocument, { input })
    expect(again.data.verifyEmail).toEqual(INVALID_TOKEN)
    expect(await app.eventsFrom(again)).toEqual(['EMAIL_VERIFIED'])
  })

  test('of ten that present it at once, one succeeds', async () => {
    const { token } = await proofFor(await app.register())
    const results = await Promise.all(Array.from({ length: 10 }, () => verify({ token })))
    expect(results.filter((result) => result.__typename === 'VerifyEmailSuccess')).toHaveLength(1)
  })

  test.each(['token', 'code'] as const)('is good for a day: then its %s is refused', async (kind) => {
    const account = await app.register()
    const { token, code } = await proofFor(account)
    clock.advance('24h')
    expect(await verify(kind === 'token' ? { token } : { email: account.email, code })).toEqual(INVALID_TOKEN)
    expectType(await logIn(account), 'EmailNotVerifiedError')
    await app.operator.purge()
    expectType(await logIn(account), 'InvalidCredentialsError')
    await app.newUser(account)
  })

  test('is refused with the code of another address', async () => {
    const [account, other] = [await app.register(), await app.register()]
    const { code } = await proofFor(other)
    const { code: own } = await proofFor(account)
    expect(await verify({ email: account.email, code: code === own ? otherThan(code) : code })).toEqual(INVALID_TOKEN)
    expectType(await logIn(account), 'EmailNotVerifiedError')
  })

  test('a token that was never given out is refused', async () => {
    expect(await verify({ token: 'A'.repeat(43) })).toEqual(INVALID_TOKEN)
    expect(await verify({ email: 'nobody@example.com', code: '000000' })).toEqual(INVALID_TOKEN)
  })

  test('four wrong codes are forgiven, five kill the code', async () => {
    const [patient, hasty] = [await app.register(), await app.register()]
    for (const [account, tries] of [
      [patient, 4],
      [hasty, 5],
    ] as const) {
      const { code } = await proofFor(account)
      for (let step = 1; step <= tries; step += 1) {
        expect(await verify({ email: account.email, code: otherThan(code, step) })).toEqual(INVALID_TOKEN)
      }
    }
    const { code } = await proofFor(patient)
    expectType(await verify({ email: patient.email, code }), 'VerifyEmailSuccess')
    const { code: dead } = await proofFor(hasty)
    expect(await verify({ email: hasty.email, code: dead })).toEqual(INVALID_TOKEN)
    await resend(hasty.email)
    const { code: fresh } = await proofFor(hasty)
    expectType(await verify({ email: hasty.email, code: fresh }), 'VerifyEmailSuccess')
  })
})

describe('two registrations of one address', () => {
  test('the one that is verified gets the account, with its own password; the other is gone', async () => {
    const squatter = await app.register({ username: 'squatter' })
    const { code: squattersCode } = await proofFor(squatter)
    const owner = app.newAccount({ email: squatter.email, password: NEXT_PASSWORD })
    expectType(await anonymous.call(RegisterDocument, { input: owner }), 'RegisterSuccess')
    const { token } = await proofFor(owner)
    expectType(await verify({ token }), 'VerifyEmailSuccess')
    expectType(await logIn(squatter), 'InvalidCredentialsError')
    expectType(await logIn(owner), 'LoginSuccess')
    expect(await verify({ email: squatter.email, code: squattersCode })).toEqual(INVALID_TOKEN)
    await app.newUser({ username: 'squatter' })
  })
})

describe('sending the mail again', () => {
  test('makes a new link and a new code; of the earlier mail the link is still good, until one is used', async () => {
    const account = await app.register()
    const earlier = await proofFor(account)
    const answer = await anonymous.execute(ResendVerificationEmailDocument, { input: { email: account.email } })
    expect(await app.eventsFrom(answer)).toEqual(['EMAIL_VERIFICATION_SENT'])
    expect(await app.mailsTo(account.email)).toHaveLength(2)
    const later = await proofFor(account)
    expect(later.token).not.toBe(earlier.token)
    if (earlier.code !== later.code)
      expect(await verify({ email: account.email, code: earlier.code })).toEqual(INVALID_TOKEN)
    expectType(await verify({ token: earlier.token }), 'VerifyEmailSuccess')
    expect(await verify({ token: later.token })).toEqual(INVALID_TOKEN)
    expect(await verify({ email: account.email, code: later.code })).toEqual(INVALID_TOKEN)
  })

  test('says for how long its link works: no longer than the registration waits', async () => {
    const account = await app.register()
    clock.advance('22h')
    await resend(account.email)
    const mail = await app.mail(account.email, SUBJECTS.verification)
    expect(mail.text).toContain('for 2 hours')
    expectType(await verify({ token: proofOf(mail).token }), 'VerifyEmailSuccess')
  })

  test('answers the same for an unknown and for a verified address, and sends nothing', async () => {
    const waiting = await app.register()
    const { email: verified } = await app.newUser()
    const answers = [await resend(waiting.email), await resend(verified), await resend('nobody@example.com')]
    expect(answers[1]).toEqual(answers[0])
    expect(answers[2]).toEqual(answers[0])
    expect(await app.mailsTo(verified)).toHaveLength(1)
    expect(await app.mailsTo('nobody@example.com')).toEqual([])
  })

  test('sends nothing for a registration that waits no longer, and the log says why', async () => {
    const { email } = await app.register()
    await app.mail(email, SUBJECTS.verification)
    clock.advance('24h')
    const answer = await anonymous.execute(ResendVerificationEmailDocument, { input: { email } })
    expect(await app.mailsTo(email)).toHaveLength(1)
    const [event] = (await app.allEvents()).filter(({ correlationId }) => correlationId === answer.requestId)
    expect(event).toMatchObject({ success: false, metadata: { reason: 'NOTHING_TO_VERIFY' } })
  })
})

describe('the exchange token of a verification', () => {
  async function obtain(account?: NewAccount): Promise<string> {
    const { token } = await proofFor(account ?? (await app.register()))
    return expectType(await verify({ token }), 'VerifyEmailSuccess').exchangeToken
  }

  test('signs the new user in, and says that it is the first time', async () => {
    const answer = await anonymous.execute(ExchangeTokenDocument, {
      input: { token: await obtain(), deviceName: 'My laptop', tokenDelivery: 'BODY' },
    })
    const { firstLogin, authentication } = expectType(answer.data.exchangeToken, 'ExchangeTokenSuccess')
    expect(firstLogin).toBe(true)
    expect(authentication.user.lastLoginAt).toBe(authentication.session.createdAt)
    expect(authentication.session).toMatchObject({ deviceName: 'My laptop', isCurrent: true, rememberMe: false })
    expect(await app.eventsFrom(answer)).toEqual(['TOKEN_EXCHANGED', 'SESSION_CREATED'])
    const signedIn = anonymous.with({ authorization: `Bearer ${authentication.accessToken}` })
    expect((await signedIn.call(MeDocument))?.id).toBe(authentication.user.id)
  })

  test('says when it is not the first time', async () => {
    const open = await startApp({ env: { REQUIRE_VERIFIED_EMAIL: 'false' } })
    const account = await open.register()
    const input = { identifier: account.email, password: account.password }
    expectType(await open.anonymous.call(LoginDocument, { input }), 'LoginSuccess')
    const { token } = proofOf(await open.mail(account.email, SUBJECTS.verification))
    const verified = await open.anonymous.call(VerifyEmailDocument, { input: { token } })
    const { exchangeToken } = expectType(verified, 'VerifyEmailSuccess')
    const result = await open.anonymous.call(ExchangeTokenDocument, { input: { token: exchangeToken } })
    expect(expectType(result, 'ExchangeTokenSuccess').firstLogin).toBe(false)
  })

  test('works once, also when ten present it at the same time', async () => {
    const token = await obtain()
    const results = await Promise.all(Array.from({ length: 10 }, () => exchange(token)))
    expect(results.filter((result) => result.__typename === 'ExchangeTokenSuccess')).toHaveLength(1)
    const late = await anonymous.execute(ExchangeTokenDocument, { input: { token } })
    expect(late.data.exchangeToken).toEqual(INVALID_TOKEN)
    expect(await app.eventsFrom(late)).toEqual(['TOKEN_EXCHANGED'])
  })

  test('is good for a minute', async () => {
    const [early, late] = [await obtain(), await obtain()]
    clock.advance('55s')
    expectType(await exchange(early), 'ExchangeTokenSuccess')
    clock.advance('5s')
    expect(await exchange(late)).toEqual(INVALID_TOKEN)
  })

  test('is refused once the account is deactivated', async () => {
    const account = await app.register()
    const token = await obtain(account)
    await app.operator.deactivate(account.email)
    expect(await exchange(token)).toEqual(INVALID_TOKEN)
  })

  test('is nothing else than that: it verifies and authenticates nothing', async () => {
    const token = await obtain()
    expect(await verify({ token })).toEqual(INVALID_TOKEN)
    expect(await anonymous.with({ authorization: `Bearer ${token}` }).call(MeDocument)).toBeNull()
    expectType(await exchange(token), 'ExchangeTokenSuccess')
  })
})

test('A mail is no longer good once its account has a new password by another: who keeps it gets no session by it', async () => {
  const open = await startApp({ env: { REQUIRE_VERIFIED_EMAIL: 'false' } })
  const { email } = await open.register()
  const verification = proofOf(await open.mail(email, SUBJECTS.verification))
  await open.anonymous.call(RequestPasswordResetDocument, { input: { email } })
  const { token } = proofOf(await open.mail(email, SUBJECTS.reset))
  const input = { token, newPassword: NEXT_PASSWORD }
  expectType(await open.anonymous.call(ResetPasswordDocument, { input }), 'ResetPasswordSuccess')
  const late = await open.anonymous.call(VerifyEmailDocument, { input: { token: verification.token } })
  expectType(late, 'InvalidTokenError')
})

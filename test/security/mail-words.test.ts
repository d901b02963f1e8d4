import { expect, test } from 'vitest'
import { startApp } from '../support/app.js'
import { expectType } from '../support/client.js'
import {
  LoginDocument,
  RefreshDocument,
  RequestPasswordResetDocument,
  VerifyEmailDocument,
} from '../support/generated/graphql.js'
import { proofOf, SUBJECTS } from '../support/mailbox.js'

/** With which a mail would greet, for nothing about them looks like a code or a link. */
const WORDS = 'winner of our draw'

const app = await startApp()

test('A mail to an address that nobody has proven carries no name that a stranger has chosen', async () => {
  const { email } = await app.register({ displayName: WORDS })
  await app.anonymous.call(RequestPasswordResetDocument, { input: { email } })
  expect((await app.mail(email, SUBJECTS.reset)).text).not.toContain(WORDS)
})

test('No more it does where the account can be used without a proof', async () => {
  const open = await startApp({ env: { REQUIRE_VERIFIED_EMAIL: 'false' } })
  const { email } = await open.register({ displayName: WORDS })
  await open.anonymous.call(RequestPasswordResetDocument, { input: { email } })
  expect((await open.mail(email, SUBJECTS.reset)).text).not.toContain(WORDS)
})

test('An address that nobody has proven gets no word of what is done with its account', async () => {
  const open = await startApp({ env: { REQUIRE_VERIFIED_EMAIL: 'false', REFRESH_GRACE_PERIOD: '0s' } })
  const { email, password } = await open.register()
  const input = { identifier: email, password, tokenDelivery: 'BODY', deviceName: 'Win at www.evil.example' } as const
  const logIn = async (userAgent: string) => {
    const answer = await open.anonymous.with({ 'user-agent': userAgent }).call(LoginDocument, { input })
    return expectType(answer, 'LoginSuccess').authentication
  }
  await logIn('one/1.0 (x)')
  const { refreshToken = '' } = await logIn('www.evil.example/1.0 (x)')
  const refresh = () => open.anonymous.call(RefreshDocument, { input: { refreshToken } })
  expectType(await refresh(), 'RefreshSuccess')
  expectType(await refresh(), 'InvalidRefreshTokenError')
  expect((await open.mailsTo(email)).map(({ subject }) => subject)).toEqual([SUBJECTS.verification])
  // Proven, it gets them.
  const { token } = proofOf(await open.mail(email, SUBJECTS.verification))
  expectType(await open.anonymous.call(VerifyEmailDocument, { input: { token } }), 'VerifyEmailSuccess')
  await logIn('three/1.0 (x)')
  await open.mail(email, SUBJECTS.newDevice)
})

test('A mail about a lock carries no words of who has caused it', async () => {
  const ada = await app.newUser()
  const mallory = app.anonymous.with({ 'user-agent': 'www.evil.example/verify/1 x' })
  const input = { identifier: ada.email, password: 'a guess', tokenDelivery: 'BODY' } as const
  for (let time = 1; time <= 5; time += 1) await mallory.call(LoginDocument, { input })
  expect((await app.mail(ada.email, SUBJECTS.locked)).text).not.toContain('evil.example')
})

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

test('A device that calls itself a link, or a code, has no name in the mails about it; any other has', async () => {
  const strict = await startApp({ env: { REFRESH_GRACE_PERIOD: '0s' } })
  const signIn = async (userAgent: string, deviceName: string) => {
    const ada = await strict.newUser()
    const input = { identifier: ada.email, password: ada.password, tokenDelivery: 'BODY', deviceName } as const
    const thief = strict.anonymous.with({ 'user-agent': userAgent })
    const { refreshToken = '' } = expectType(await thief.call(LoginDocument, { input }), 'LoginSuccess').authentication
    const refresh = () => thief.call(RefreshDocument, { input: { refreshToken } })
    expectType(await refresh(), 'RefreshSuccess')
    expectType(await refresh(), 'InvalidRefreshTokenError')
    const mails = [
      await strict.mail(ada.email, SUBJECTS.newDevice),
      await strict.mail(ada.email, SUBJECTS.sessionEnded),
    ]
    return mails.map(({ text, html }) => text + html).join()
  }
  const hostile = await signIn(
    'Confirm it at www.evil.example/ada/1 (x)',
    'Closed today, unless at https://evil.example',
  )
  expect(hostile).not.toContain('evil')
  expect(hostile).not.toContain('Session on')
  expect(hostile).toContain('Device: Unknown device\n')
  expect(await signIn('x (x)', 'Your code: 123 456')).not.toContain('123 456')
  const honest = await signIn('Lynx/2.8 (x)', 'Büro, am Fenster')
  expect(honest).toContain('Device: Lynx\n')
  expect(honest).toContain('Session on: Büro, am Fenster\n')
})

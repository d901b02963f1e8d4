import { expect, test } from 'vitest'
import { NEXT_PASSWORD, startApp } from '../support/app.js'
import { type Answer, expectType } from '../support/client.js'
import {
  LoginDocument,
  RefreshDocument,
  RegisterDocument,
  RequestPasswordResetDocument,
  ResendVerificationEmailDocument,
  ResetPasswordDocument,
  VerifyEmailDocument,
} from '../support/generated/graphql.js'
import { proofOf, SUBJECTS } from '../support/mailbox.js'

// An account is locked by its first failure, for a minute.
const app = await startApp({ env: { LOCKOUT_THRESHOLD: '1', LOCKOUT_DURATION: '1m' } })

let callers = 0
/** Somebody at an address of her own. */
const stranger = () => {
  callers += 1
  return app.anonymous.with({ 'x-forwarded-for': `203.0.113.${callers}` })
}
const requestReset = (email: string) => stranger().execute(RequestPasswordResetDocument, { input: { email } })
const resend = (email: string) => stranger().execute(ResendVerificationEmailDocument, { input: { email } })
const register = (email: string) => stranger().execute(RegisterDocument, { input: app.newAccount({ email }) })
const lock = (identifier: string) => {
  app.clock.advance('1m')
  return stranger().execute(LoginDocument, { input: { identifier, password: NEXT_PASSWORD } })
}
const established = async () => (await app.newUser()).email
const waiting = async () => (await app.register()).email

const mailsOf = async (email: string, subject: string) =>
  (await app.mailsTo(email)).filter((mail) => mail.subject === subject).length
const eventsOf = async ({ requestId }: Answer<unknown>) =>
  (await app.allEvents()).filter(({ correlationId }) => correlationId === requestId)

type Ask = (email: string) => Promise<Answer<unknown>>
type Flood = [mail: string, subject: string, newAddress: () => Promise<string>, ask: Ask, burst: number, hourly: number]

/** What strangers can have sent to anybody. */
const FLOODS: Flood[] = [
  ['password-reset', SUBJECTS.reset, established, requestReset, 5, 6],
  // One more came with the registration.
  ['email-verification', SUBJECTS.verification, waiting, resend, 5, 6],
  ['registration', SUBJECTS.verification, async () => app.newAccount().email, register, 5, 6],
  ['existing-account', SUBJECTS.existingAccount, established, register, 3, 3],
  ['account-locked', SUBJECTS.locked, established, lock, 3, 3],
]

test.each(FLOODS)(
  '%s: a mailbox gets a few at once and in an hour, however many addresses ask',
  async (mail, subject, newAddress, ask, burst, hourly) => {
    const email = await newAddress()
    const before = await mailsOf(email, subject)
    const sent = async () => (await mailsOf(email, subject)) - before
    const answers: Answer<unknown>[] = []
    for (let time = 1; time <= burst + 4; time += 1) answers.push(await ask(email))
    expect(await sent()).toBe(burst)

    const [first, last] = [answers[0], answers.at(-1)] as [Answer<unknown>, Answer<unknown>]
    const bodyOf = ({ data }: Answer<unknown>) => JSON.stringify(data).replace(/"lockedUntil":"[^"]+"/, '')
    expect(bodyOf(last)).toBe(bodyOf(first))
    expect(last.status).toBe(first.status)
    expect([...last.headers.keys()]).toEqual([...first.headers.keys()])
    const user = expect.objectContaining({ email })
    const type = mail === 'password-reset' ? 'PASSWORD_RESET_REQUESTED' : 'RATE_LIMIT_EXCEEDED'
    const withheld = { type, success: false, user, metadata: { reason: 'TOO_MANY_MAILS', mail } }
    const told = (await eventsOf(last)).filter(({ metadata }) => JSON.stringify(metadata).includes('TOO_MANY_MAILS'))
    // Of a lock it has none: where there is no account there is nothing to withhold.
    expect(told).toEqual(mail === 'account-locked' ? [] : [expect.objectContaining(withheld)])
    expect((await eventsOf(first)).map(({ type }) => type)).not.toContain('RATE_LIMIT_EXCEEDED')

    // What still counts is not removed.
    await app.operator.purge()
    for (let time = 1; time <= 12; time += 1) {
      app.clock.advance('5m')
      await ask(email)
      // A job does what was asked for: in the same minute.
      await sent()
    }
    expect(await sent()).toBe(burst + hourly)
    // A mailbox that was left alone for long gets no more at once than a new one.
    app.clock.advance('3h')
    for (let time = 1; time <= burst + 1; time += 1) await ask(email)
    expect(await sent()).toBe(2 * burst + hourly)
  },
)

test('the mail that was withheld leaves the link of the one before it good', async () => {
  const [ada, grace] = [await established(), await waiting()]
  for (let time = 1; time <= 7; time += 1) await Promise.all([requestReset(ada), resend(grace)])
  const reset = { token: proofOf(await app.mail(ada, SUBJECTS.reset)).token, newPassword: NEXT_PASSWORD }
  expectType(await app.anonymous.call(ResetPasswordDocument, { input: reset }), 'ResetPasswordSuccess')
  const { token } = proofOf(await app.mail(grace, SUBJECTS.verification))
  expectType(await app.anonymous.call(VerifyEmailDocument, { input: { token } }), 'VerifyEmailSuccess')
})

test('a mailbox has a quota of each kind, and others have theirs', async () => {
  const [ada, grace] = [await established(), await established()]
  for (let time = 1; time <= 6; time += 1) await requestReset(ada)
  await requestReset(grace)
  await register(ada)
  expect(await mailsOf(grace, SUBJECTS.reset)).toBe(1)
  expect(await mailsOf(ada, SUBJECTS.existingAccount)).toBe(1)
})

test('strangers who fill a mailbox by registering leave its owner a mail that confirms none of their passwords', async () => {
  const owner = app.newAccount()
  for (let time = 1; time <= 6; time += 1) await register(owner.email)
  await app.mailsTo(owner.email)
  await app.anonymous.call(RegisterDocument, { input: owner })
  expect(await mailsOf(owner.email, SUBJECTS.verification)).toBe(5)
  await resend(owner.email)
  expect(await mailsOf(owner.email, SUBJECTS.verification)).toBe(6)
  const { token } = proofOf(await app.mail(owner.email, SUBJECTS.verification))
  expectType(await app.anonymous.call(VerifyEmailDocument, { input: { token } }), 'VerifyEmailSuccess')
  const login = { identifier: owner.email, password: owner.password }
  // As every failure here.
  expectType(await app.anonymous.call(LoginDocument, { input: login }), 'AccountLockedError')
  expect(await mailsOf(owner.email, SUBJECTS.reset)).toBe(1)
})

test('addresses with tags share the quota of their mailbox, wherever it is', async () => {
  for (let time = 1; time <= 7; time += 1) await register(`carol+${time}@example.org`)
  const mails = await Promise.all([1, 2, 3, 4, 5, 6, 7].map((time) => app.mailsTo(`carol+${time}@example.org`)))
  expect(mails.flat()).toHaveLength(5)
})

test('spellings of one mailbox share its quota', async () => {
  const { email } = await app.newUser({ email: 'grace.hopper@gmail.com' })
  for (let time = 1; time <= 4; time += 1) {
    await requestReset(email)
    await requestReset(`gracehopper+${time}@googlemail.com`)
  }
  expect(await mailsOf(email, SUBJECTS.reset)).toBe(5)
})

/** Signs in from another address and with another browser each time. */
async function logInElsewhere(user: Awaited<ReturnType<typeof app.newUser>>, browser?: string) {
  callers += 1
  const at = {
    'x-forwarded-for': `203.0.113.${callers}`,
    'user-agent': browser ?? `Browser${callers}/1.0 (System${callers})`,
  }
  return user.logIn({}, at)
}
const withheldOf = async (mail: string) =>
  (await app.allEvents()).filter(({ metadata }) => metadata.reason === 'TOO_MANY_MAILS' && metadata.mail === mail)

test('whoever knows a password fills no mailbox with new devices', async () => {
  const [ada, grace] = [
    await app.newUser({ email: 'ada@example.org' }),
    await app.newUser({ email: 'ada+g@example.org' }),
  ]
  for (let time = 1; time <= 8; time += 1) await logInElsewhere(ada)
  expect(await mailsOf(ada.email, SUBJECTS.newDevice)).toBe(5)
  expect(await app.eventsOf(ada, { types: ['NEW_DEVICE'] })).toHaveLength(8)
  const told = await withheldOf('new-device')
  expect(told.map(({ type, user }) => [type, user?.email])).toEqual(
    new Array(3).fill(['RATE_LIMIT_EXCEEDED', ada.email]),
  )
  // Another account is warned all the same, though its mailbox may be the same one.
  await logInElsewhere(grace)
  expect(await mailsOf(grace.email, SUBJECTS.newDevice)).toBe(1)
  app.clock.advance('10m')
  for (let time = 1; time <= 2; time += 1) await logInElsewhere(ada)
  expect(await mailsOf(ada.email, SUBJECTS.newDevice)).toBe(6)
})

test('nor with sessions that he has ended by their old tokens', async () => {
  const ada = await app.newUser()
  const rotate = (refreshToken: string | null | undefined) =>
    app.anonymous.call(RefreshDocument, { input: { refreshToken: refreshToken ?? '' } })
  for (let time = 1; time <= 8; time += 1) {
    const { refreshToken } = await logInElsewhere(ada, 'Browser/1.0')
    const { authentication } = expectType(await rotate(refreshToken), 'RefreshSuccess')
    expectType(await rotate(authentication.refreshToken), 'RefreshSuccess')
    expect(expectType(await rotate(refreshToken), 'InvalidRefreshTokenError').reason).toBe('REUSED')
  }
  expect(await mailsOf(ada.email, SUBJECTS.sessionEnded)).toBe(5)
  expect(await app.eventsOf(ada, { types: ['TOKEN_REUSE_DETECTED'] })).toHaveLength(8)
  expect(await withheldOf('sessions-ended')).toHaveLength(3)
})

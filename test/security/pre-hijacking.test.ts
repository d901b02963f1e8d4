import { describe, expect, test } from 'vitest'
import { NEXT_PASSWORD, type NewAccount, PASSWORD, startApp, type TestApp } from '../support/app.js'
import { expectType } from '../support/client.js'
import { DEVICES } from '../support/devices.js'
import {
  ExchangeTokenDocument,
  LoginDocument,
  MeDocument,
  RefreshDocument,
  RegisterDocument,
  ResendVerificationEmailDocument,
  ResetPasswordDocument,
  VerifyEmailDocument,
  type VerifyEmailInput,
} from '../support/generated/graphql.js'
import { proofOf, SUBJECTS } from '../support/mailbox.js'
import { openSocket } from '../support/streams.js'

const app = await startApp()
const open = await startApp({ env: { REQUIRE_VERIFIED_EMAIL: 'false' } })
const MALLORYS = 'eleven borrowed umbrellas at dusk'
let victims = 0
const newAddress = () => {
  victims += 1
  return `victim${victims}@example.com`
}

const verify = ({ anonymous }: TestApp, input: VerifyEmailInput) => anonymous.call(VerifyEmailDocument, { input })
const resend = ({ anonymous }: TestApp, email: string) =>
  anonymous.call(ResendVerificationEmailDocument, { input: { email } })
const logIn = async ({ anonymous }: TestApp, { email, password }: Pick<NewAccount, 'email' | 'password'>) => {
  const input = { identifier: email, password, tokenDelivery: 'BODY' as const }
  return anonymous.call(LoginDocument, { input })
}
const proofFor = async (at: TestApp, email: string) => proofOf(await at.mail(email, SUBJECTS.verification))
const otherThan = (codes: readonly string[]) =>
  Array.from({ length: 100 }, (_, code) => String(code).padStart(6, '0')).filter((code) => !codes.includes(code))

/** Registers the owner and somebody else for one address, in that order, with the proof of each one's own mail. */
async function contend(order: 'owner first' | 'attacker first') {
  const email = newAddress()
  const register = async (password: string) => {
    const account = await app.register({ email, password })
    return { ...account, ...(await proofFor(app, email)) }
  }
  const first = await register(order === 'owner first' ? PASSWORD : MALLORYS)
  const second = await register(order === 'owner first' ? MALLORYS : PASSWORD)
  return order === 'owner first' ? { email, owner: first, mallory: second } : { email, owner: second, mallory: first }
}

/** The owner has the account to herself: by her exchange token, and by the password that she chooses by mail. */
async function expectTakenByOwner(at: TestApp, email: string, exchangeToken: string): Promise<void> {
  const input = { token: exchangeToken, tokenDelivery: 'BODY' as const }
  expectType(await at.anonymous.call(ExchangeTokenDocument, { input }), 'ExchangeTokenSuccess')
  for (const password of [MALLORYS, PASSWORD]) {
    expectType(await logIn(at, { email, password }), 'InvalidCredentialsError')
  }
  const { token } = proofOf(await at.mail(email, SUBJECTS.reset))
  const reset = { token, newPassword: NEXT_PASSWORD }
  expectType(await at.anonymous.call(ResetPasswordDocument, { input: reset }), 'ResetPasswordSuccess')
  const { authentication } = expectType(await logIn(at, { email, password: NEXT_PASSWORD }), 'LoginSuccess')
  expect(authentication.user.displayName).toBe(email.split('@')[0])
}

describe.each(['owner first', 'attacker first'] as const)('two register one address, the %s', (order) => {
  test('the mail of a registration gives the account its password, and no other', async () => {
    const { email, owner, mallory } = await contend(order)
    expectType(await verify(app, { token: owner.token }), 'VerifyEmailSuccess')
    expectType(await logIn(app, owner), 'LoginSuccess')
    expectType(await logIn(app, mallory), 'InvalidCredentialsError')
    for (const input of [{ token: mallory.token }, { email, code: mallory.code }]) {
      expectType(await verify(app, input), 'InvalidTokenError')
    }
  })

  test.each(['token', 'code'] as const)('the %s of a mail that is sent again keeps no password', async (kind) => {
    const { email } = await contend(order)
    await resend(app, email)
    const { token, code } = await proofFor(app, email)
    const verified = await verify(app, kind === 'token' ? { token } : { email, code })
    await expectTakenByOwner(app, email, expectType(verified, 'VerifyEmailSuccess').exchangeToken)
  })

  test('a mail that is sent again leaves that of each registration good', async () => {
    const { email, owner, mallory } = await contend(order)
    await resend(app, email)
    await resend(app, email)
    expectType(await verify(app, { email, code: owner.code }), 'VerifyEmailSuccess')
    expectType(await logIn(app, owner), 'LoginSuccess')
    expectType(await logIn(app, mallory), 'InvalidCredentialsError')
  })
})

describe('the mail of a registration', () => {
  const far = { 'x-forwarded-for': '203.0.113.77', 'user-agent': DEVICES.chromeOnWindows }
  const registerFrom = (headers: Record<string, string>, email: string) =>
    app.anonymous.with(headers).call(RegisterDocument, { input: app.newAccount({ email, password: MALLORYS }) })

  test('says when and from where it was made, and what not to do with it; also when it is sent again', async () => {
    const email = newAddress()
    await registerFrom(far, email)
    await app.mailsTo(email)
    await resend(app, email)
    const mails = await app.mailsTo(email)
    expect(mails).toHaveLength(2)
    for (const { text, html } of mails) {
      for (const part of [text, html]) {
        for (const fact of ['Chrome on Windows', '203.0.113.77']) expect(part).toContain(fact)
        expect(part).toMatch(/, 20\d\d at \d/)
        expect(part).toContain('If this was not you, do not follow the link')
      }
    }
  })

  test('tells those of several apart', async () => {
    const { email } = await app.register({ email: newAddress() })
    await registerFrom(far, email)
    const [mallorys, owners] = await app.mailsTo(email)
    expect(owners?.text).toContain('IP address: 127.0.0.1')
    expect(mallorys?.text).toContain('IP address: 203.0.113.77')
  })

  test('carries no words of the one who asked for it', async () => {
    for (const email of [newAddress(), (await app.newUser()).email]) {
      await registerFrom({ 'user-agent': 'Call-us-now/1.0 (you.won.example)' }, email)
      const [mail] = await app.mailsTo(email)
      expect(mail?.text).toContain('Device: Unknown device')
      expect(`${mail?.text}${mail?.html}`).not.toMatch(/call-us|won\.example/i)
    }
  })
})

describe('registrations of one address', () => {
  test.each([
    ['where a verification is awaited', app],
    ['where an account can be used at once', open],
  ] as const)('keep their password when there is one only, also by a mail that is sent again: %s', async (_, at) => {
    const account = await at.register()
    await resend(at, account.email)
    const { token } = await proofFor(at, account.email)
    expectType(await verify(at, { token }), 'VerifyEmailSuccess')
    expectType(await logIn(at, account), 'LoginSuccess')
  })

  test('that are verified at the same time: one is the account', async () => {
    const { owner, mallory } = await contend('owner first')
    const results = await Promise.all([owner, mallory].map(({ token }) => verify(app, { token })))
    expect(results.map(({ __typename }) => __typename).sort()).toEqual(['InvalidTokenError', 'VerifyEmailSuccess'])
    const logins = await Promise.all([owner, mallory].map((each) => logIn(app, each)))
    const outcomes = results.map((each) => each.__typename === 'VerifyEmailSuccess')
    expect(logins.map((each) => each.__typename === 'LoginSuccess')).toEqual(outcomes)
  })

  test('that come while the mail is sent again are not confirmed by it', async () => {
    const { email } = await app.register({ email: newAddress() })
    const others = Array.from({ length: 5 }, () => app.register({ email, password: MALLORYS }))
    await Promise.all([...others, resend(app, email)])
    await app.mailsTo(email)
    app.clock.advance('1h')
    await resend(app, email)
    const { token } = await proofFor(app, email)
    expectType(await verify(app, { token }), 'VerifyEmailSuccess')
    expectType(await logIn(app, { email, password: MALLORYS }), 'InvalidCredentialsError')
  })
})

describe('an account that can be used before its address is proven', () => {
  test.each(['its own mail', 'a mail that is sent again'])(
    'loses its password and its sessions to an owner who has registered as well, by %s',
    async (which) => {
      const words = { displayName: 'Ask Mallory before you pay' }
      const { email, password } = await open.register({ email: newAddress(), password: MALLORYS, ...words })
      const { authentication } = expectType(await logIn(open, { email, password }), 'LoginSuccess')
      const { accessToken, refreshToken } = authentication
      const socket = await openSocket(open.url, { token: accessToken })
      await open.register({ email })
      expect((await open.mailsTo(email))[0]?.subject).toBe(SUBJECTS.existingAccount)
      open.clock.advance('2m')
      await open.operator.purge()
      if (which !== 'its own mail') await resend(open, email)

      const { token } = await proofFor(open, email)
      const { exchangeToken } = expectType(await verify(open, { token }), 'VerifyEmailSuccess')
      expect(await socket.closing).toMatchObject({ code: 4403 })
      expect(await open.anonymous.with({ authorization: `Bearer ${accessToken}` }).call(MeDocument)).toBeNull()
      const input = { refreshToken: refreshToken ?? '' }
      expectType(await open.anonymous.call(RefreshDocument, { input }), 'InvalidRefreshTokenError')
      await expectTakenByOwner(open, email, exchangeToken)
    },
  )

  test('loses them also when the registration of its owner has long expired', async () => {
    const { email, password } = await open.register({ email: newAddress(), password: MALLORYS, displayName: 'Mallory' })
    const { authentication } = expectType(await logIn(open, { email, password }), 'LoginSuccess')
    await open.register({ email })
    await open.mailsTo(email)
    open.clock.advance('25h')
    await open.operator.purge()
    await resend(open, email)
    const { token } = await proofFor(open, email)
    const { exchangeToken } = expectType(await verify(open, { token }), 'VerifyEmailSuccess')
    const input = { refreshToken: authentication.refreshToken ?? '' }
    expectType(await open.anonymous.call(RefreshDocument, { input }), 'InvalidRefreshTokenError')
    await expectTakenByOwner(open, email, exchangeToken)
  })

  test('stays as it is when somebody else registers its address', async () => {
    const account = await open.register({ email: newAddress() })
    await open.register({ email: account.email, password: MALLORYS })
    const subjects = (await open.mailsTo(account.email)).map(({ subject }) => subject)
    expect(subjects).toEqual([SUBJECTS.existingAccount, SUBJECTS.verification])
    expectType(await logIn(open, account), 'LoginSuccess')
    expectType(await logIn(open, { ...account, password: MALLORYS }), 'EmailNotVerifiedError')
  })
})

describe('the codes that may be guessed for an address are bounded', () => {
  test('whatever the number of its registrations: a guess counts for each of them', async () => {
    const { email, owner, mallory } = await contend('owner first')
    const more = await Promise.all(Array.from({ length: 3 }, () => app.register({ email })))
    expect(more).toHaveLength(3)
    const codes = (await app.mailsTo(email)).map((mail) => proofOf(mail).code)
    for (const code of otherThan(codes).slice(0, 4)) expectType(await verify(app, { email, code }), 'InvalidTokenError')
    expectType(await verify(app, { email, code: owner.code }), 'InvalidTokenError')
    expectType(await verify(app, { email, code: mallory.code }), 'InvalidTokenError')
    expectType(await verify(app, { token: owner.token }), 'VerifyEmailSuccess')
  })

  test.each([
    ['one registration', 1],
    ['two registrations', 2],
  ])('whatever the number of its mails: with %s', async (_, registrations) => {
    const email = newAddress()
    for (let time = 0; time < registrations; time += 1) await app.register({ email })
    for (let mail = 0; mail < 6; mail += 1) {
      const { code } = await proofFor(app, email)
      await Promise.all(
        otherThan([code])
          .slice(0, 5)
          .map((wrong) => verify(app, { email, code: wrong })),
      )
      app.clock.advance('10m')
      await resend(app, email)
    }
    const { token, code } = await proofFor(app, email)
    expectType(await verify(app, { email, code }), 'InvalidTokenError')
    expectType(await verify(app, { token }), 'VerifyEmailSuccess')
  })
})

import { describe, expect, test } from 'vitest'
import { NEXT_PASSWORD, startApp } from '../support/app.js'
import { expectType } from '../support/client.js'
import { lockDatabase } from '../support/database-lock.js'
import {
  LoginDocument,
  RegisterDocument,
  UpdateProfileDocument,
  VerifyEmailDocument,
} from '../support/generated/graphql.js'
import { proofOf, SUBJECTS } from '../support/mailbox.js'

const app = await startApp()
const { anonymous } = app

const logIn = (identifier: string, password: string) =>
  anonymous.call(LoginDocument, { input: { identifier, password, tokenDelivery: 'BODY' } })

describe('registering', () => {
  test('answers with the address, and sends a link and a code to it', async () => {
    const input = app.newAccount({ email: 'Grace.Hopper@example.com' })
    const answer = await anonymous.execute(RegisterDocument, { input })
    expect(answer.data.register).toEqual({
      __typename: 'RegisterSuccess',
      email: 'Grace.Hopper@example.com',
      message: expect.any(String),
    })
    expect(await app.eventsFrom(answer)).toEqual(['REGISTERED', 'EMAIL_VERIFICATION_SENT'])
    const { link, token, code } = proofOf(await app.mail('Grace.Hopper@example.com', SUBJECTS.verification))
    expect(link.pathname).toBe('/verify-email')
    expect(link.origin).toBe(new URL(app.url).origin.replace('127.0.0.1', 'localhost'))
    expect(token.length).toBeGreaterThanOrEqual(43)
    expect(code).toMatch(/^\d{6}$/)
  })

  test('keeps what was given, and fills in the rest', async () => {
    const names = { firstName: 'Ada', lastName: 'Lovelace', displayName: 'Countess', username: 'Ada.L' }
    const given = await app.newUser({ ...names, locale: 'de-AT', timezone: 'Europe/Vienna' })
    expect(given.authentication.user).toMatchObject({ ...names, locale: 'de-AT', timezone: 'Europe/Vienna' })
    const { email, authentication } = await app.newUser()
    expect(authentication.user).toMatchObject({
      ...{ email, username: null, firstName: null, lastName: null, displayName: email.split('@')[0] },
      ...{ locale: 'en', timezone: 'UTC', role: 'user', permissions: [], emailVerified: true },
    })
  })

  test.each([
    ['example.xn--p1ai', 'example.xn--p1ai'],
    ['XN--FSQU00A.XN--0ZWM56D', 'XN--FSQU00A.XN--0ZWM56D'],
    ['bücher.example', 'xn--bcher-kva.example'],
    ['例子。测试', 'xn--fsqu00a.xn--0zwm56d'],
  ])('takes an address at the international domain %s, which all its spellings sign in', async (domain, ascii) => {
    const at = (to: string) => email.replace(/@.*/, `@${to}`)
    const account = app.newAccount()
    const { email, password } = account
    await anonymous.call(RegisterDocument, { input: { ...account, email: at(domain) } })
    const { token } = proofOf(await app.mail(at(ascii), SUBJECTS.verification))
    const proof = await anonymous.call(VerifyEmailDocument, { input: { token } })
    expect(expectType(proof, 'VerifyEmailSuccess').email).toBe(at(ascii))
    for (const spelling of [domain, ascii, ascii.toUpperCase()])
      expectType(await logIn(at(spelling), password), 'LoginSuccess')
  })

  test('opens no way in before the address is verified', async () => {
    const { email, password } = await app.register()
    expectType(await logIn(email, password), 'EmailNotVerifiedError')
  })

  test('takes as many words and signs as a password may have, exactly as they are', async () => {
    const words = '  Straße 馬 "quotes" \\ 🐎🐎 Zürich  '
    const password = `${words}${'and so on, '.repeat(12).slice(0, 127 - [...words].length)} `
    expect([...password]).toHaveLength(128)
    const ada = await app.newUser({ password })
    const others = [password.trimStart(), password.slice(0, -1), password.toLowerCase(), password.normalize('NFD')]
    for (const other of others) expectType(await logIn(ada.email, other), 'InvalidCredentialsError')
    await ada.logIn()
  })
})

describe('registering an address that has an account', () => {
  test('answers the same, tells the owner by mail, and changes nothing', async () => {
    const ada = await app.newUser()
    const before = await ada.state()
    const input = app.newAccount({ email: ada.email, password: NEXT_PASSWORD, firstName: 'Mallory' })
    const known = await anonymous.execute(RegisterDocument, { input })
    const fresh = await anonymous.execute(RegisterDocument, { input: app.newAccount() })
    expect(known.data.register).toEqual({ ...fresh.data.register, email: ada.email })
    expect(known.status).toBe(fresh.status)

    const [mail, ...earlier] = await app.mailsTo(ada.email)
    expect(mail?.subject).toBe(SUBJECTS.existingAccount)
    expect(mail?.text).not.toContain('Mallory')
    expect(earlier.map(({ subject }) => subject)).toEqual([SUBJECTS.verification])

    const { events, ...rest } = await ada.state()
    expect(rest).toEqual({ me: before.me, sessions: before.sessions })
    expect(events).toEqual([
      expect.objectContaining({ type: 'EMAIL_VERIFICATION_SENT', success: false, userId: ada.id }),
      expect.objectContaining({ type: 'REGISTERED', success: false, userId: ada.id }),
      ...before.events,
    ])
    expectType(await logIn(ada.email, NEXT_PASSWORD), 'EmailNotVerifiedError')
    await ada.logIn()
  })

  test.each([
    ['other case', 'Charles@example.com', 'charles@EXAMPLE.com'],
    ['without the dots of a Gmail address', 'ada.love.lace@gmail.com', 'adalovelace@gmail.com'],
    ['with a tag in a Gmail address', 'mary.somerville@gmail.com', 'mary.somerville+shop@gmail.com'],
    ['at the other domain of Gmail', 'sofia.k@googlemail.com', 'SofiaK@gmail.com'],
  ])('knows it in another spelling: %s', async (_, email, spelling) => {
    const owner = await app.newUser({ email })
    expectType(
      await anonymous.call(RegisterDocument, { input: app.newAccount({ email: spelling }) }),
      'RegisterSuccess',
    )
    expect(await app.mailsTo(spelling)).toEqual([])
    expect((await app.mailsTo(email))[0]?.subject).toBe(SUBJECTS.existingAccount)
    expectType(await logIn(spelling, owner.password), 'LoginSuccess')
  })

  test.each([
    ['dots', 'emmy.noether@example.com', 'emmynoether@example.com'],
    ['tags', 'lise@example.com', 'lise+shop@example.com'],
  ])('takes %s of other providers for what they are: another address', async (_, email, other) => {
    await app.newUser({ email })
    await app.newUser({ email: other })
    expect((await app.mailsTo(other)).map(({ subject }) => subject)).toEqual([SUBJECTS.verification])
  })
})

describe('a username', () => {
  test.each([
    ['that somebody has', 'marie', 'marie'],
    ['that somebody has in other letters', 'Pierre', 'pIERRE'],
    ['that somebody has in compatible letters', 'irene', 'ｉｒｅｎｅ'],
    ['that somebody has in letters whose capitals are written with two', 'J\u030cill', '\u01f0ill'],
  ])('%s is taken: nothing is registered', async (_, username, wanted) => {
    await app.newUser({ username })
    const input = app.newAccount({ username: wanted })
    const answer = await anonymous.execute(RegisterDocument, { input })
    expect(answer.data.register).toEqual({
      __typename: 'UsernameTakenError',
      code: 'USERNAME_TAKEN',
      message: 'That username is taken.',
    })
    expect(await app.eventsFrom(answer)).toEqual(['REGISTERED'])
    expect(await app.mailsTo(input.email)).toEqual([])
    expectType(await logIn(input.email, input.password), 'InvalidCredentialsError')
    await app.newUser({ email: input.email })
  })

  test('is free again once its owner has another', async () => {
    const ada = await app.newUser({ username: 'augusta' })
    await ada.call(UpdateProfileDocument, { input: { username: 'augusta.ada' } })
    await app.newUser({ username: 'augusta' })
  })

  test('of twenty that register it at once, one gets it', async () => {
    const attempts = Array.from({ length: 20 }, () =>
      anonymous.call(RegisterDocument, { input: app.newAccount({ username: 'contended' }) }),
    )
    const names = (await Promise.all(attempts)).map((result) => result.__typename)
    expect(names.filter((name) => name === 'RegisterSuccess')).toHaveLength(1)
    expect(names.filter((name) => name === 'UsernameTakenError')).toHaveLength(19)
  })
})

describe('where no verification is required', () => {
  test('the account can be used at once, and the address still be verified later', async () => {
    const open = await startApp({ env: { REQUIRE_VERIFIED_EMAIL: 'false' } })
    const { email, password } = await open.register()
    const login = await open.anonymous.call(LoginDocument, {
      input: { identifier: email, password, tokenDelivery: 'BODY' },
    })
    expect(expectType(login, 'LoginSuccess').authentication.user.emailVerified).toBe(false)
    const again = { input: open.newAccount({ email, password: NEXT_PASSWORD }) }
    expectType(await open.anonymous.call(RegisterDocument, again), 'RegisterSuccess')
    const subjects = (await open.mailsTo(email)).map(({ subject }) => subject)
    expect(subjects).toEqual([SUBJECTS.existingAccount, SUBJECTS.verification])
    // While a sign-in, say, has the account, its verification has nothing that this may take: neither waits for the other.
    const { token } = proofOf(await open.mail(email, SUBJECTS.verification))
    const whose = `(SELECT id FROM users WHERE email = '${email}' AND pending_until IS NULL)`
    const account = await lockDatabase(open.installation, `SELECT FROM users WHERE id = ${whose} FOR KEY SHARE`)
    const verified = open.anonymous.call(VerifyEmailDocument, { input: { token } })
    await account.untilWaiting(1)
    await lockDatabase(open.installation, `SELECT FROM sessions WHERE user_id = ${whose} FOR UPDATE NOWAIT`).then(
      (free) => free.release(),
    )
    await account.release()
    expectType(await verified, 'VerifyEmailSuccess')
  })

  test('two that come for one address at the same time are answered the same: one can be used, the other waits', async () => {
    const open = await startApp({ env: { REQUIRE_VERIFIED_EMAIL: 'false' } })
    const input = open.newAccount()
    const users = await lockDatabase(open.installation, 'LOCK TABLE users IN SHARE MODE')
    const both = [1, 2].map(() => open.anonymous.call(RegisterDocument, { input }))
    await users.untilWaiting(2)
    await users.release()
    for (const result of await Promise.all(both)) expectType(result, 'RegisterSuccess')
    const subjects = (await open.mailsTo(input.email)).map(({ subject }) => subject)
    expect(subjects.sort()).toEqual([SUBJECTS.verification, SUBJECTS.existingAccount].sort())
  })
})

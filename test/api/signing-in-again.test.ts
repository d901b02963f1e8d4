import { describe, expect, test } from 'vitest'
import { NEXT_PASSWORD, startApp } from '../support/app.js'
import type { Browser } from '../support/browser.js'
import { expectType } from '../support/client.js'
import { lockDatabase } from '../support/database-lock.js'
import {
  ExchangeTokenDocument,
  LoginDocument,
  LogoutDocument,
  RefreshDocument,
  VerifyEmailDocument,
} from '../support/generated/graphql.js'
import { proofOf, SUBJECTS } from '../support/mailbox.js'
import type { User } from '../support/user.js'

const app = await startApp()
const COOKIE = 'portcullis_refresh'

const credentials = ({ email, password }: User) => ({ identifier: email, password })
const logIn = (browser: Browser, user: User) => browser.execute(LoginDocument, { input: credentials(user) })
const tokenOf = (browser: Browser) => browser.cookies.get(COOKIE)?.value ?? ''
const withCookie = (value: string) => app.anonymous.with({ cookie: `${COOKIE}=${value}` })
const open = async (user: User) => (await user.sessions()).length

describe('signing in again in a browser', () => {
  test('ends the session that the browser had, and records it with the login', async () => {
    const ada = await app.newUser()
    const browser = await ada.openBrowser()
    const first = tokenOf(browser)
    const answer = await logIn(browser, ada)
    expect(await app.eventsFrom(answer)).toEqual(['LOGGED_OUT', 'LOGIN_SUCCEEDED', 'SESSION_CREATED'])
    expect(await open(ada)).toBe(2)
    const [ended] = (await ada.sessions(true)).filter(({ isActive }) => !isActive)
    expect(ended?.endReason).toBe('LOGOUT')
    const old = await app.anonymous.call(RefreshDocument, { input: { refreshToken: first } })
    expect(expectType(old, 'InvalidRefreshTokenError').reason).toBe('REVOKED')
    expectType(await (await browser.withCsrfToken()).call(RefreshDocument), 'RefreshSuccess')
  })

  test('ends it also when it was of another account, whose other sessions go on', async () => {
    const [ada, bob] = [await app.newUser(), await app.newUser()]
    const browser = await ada.openBrowser()
    expectType((await logIn(browser, bob)).data.login, 'LoginSuccess')
    expect(await open(ada)).toBe(1)
    expect(await open(bob)).toBe(2)
  })

  test('with an exchange token does the same', async () => {
    const ada = await app.newUser()
    const browser = await ada.openBrowser()
    const { email } = await app.register()
    const { code } = proofOf(await app.mail(email, SUBJECTS.verification))
    const verified = await app.anonymous.call(VerifyEmailDocument, { input: { email, code } })
    const { exchangeToken } = expectType(verified, 'VerifyEmailSuccess')
    const answer = await browser.execute(ExchangeTokenDocument, { input: { token: exchangeToken } })
    expectType(answer.data.exchangeToken, 'ExchangeTokenSuccess')
    expect(await app.eventsFrom(answer)).toEqual(['LOGGED_OUT', 'TOKEN_EXCHANGED', 'SESSION_CREATED'])
    expect(await open(ada)).toBe(1)
  })

  test('ends it when the answer to its last refresh was lost', async () => {
    const ada = await app.newUser()
    const browser = await ada.openBrowser()
    const [before, page] = [tokenOf(browser), await browser.withCsrfToken()]
    await page.call(RefreshDocument)
    await withCookie(before).call(LoginDocument, { input: credentials(ada) })
    expect(await open(ada)).toBe(2)
  })

  test('leaves a session alone whose token could not renew it any more, just after another page has used it', async () => {
    const ada = await app.newUser()
    const browser = await ada.openBrowser()
    const [before, page] = [tokenOf(browser), await browser.withCsrfToken()]
    await page.call(RefreshDocument)
    await page.call(RefreshDocument)
    await withCookie(before).call(LoginDocument, { input: credentials(ada) })
    expect(await open(ada)).toBe(3)
    expectType(await page.call(RefreshDocument), 'RefreshSuccess')
  })

  test('with a token that somebody else has used ends the session of who has the copy', async () => {
    const ada = await app.newUser()
    const browser = await ada.openBrowser()
    const stolen = await app.anonymous.call(RefreshDocument, { input: { refreshToken: tokenOf(browser) } })
    const { refreshToken } = expectType(stolen, 'RefreshSuccess').authentication
    app.clock.advance('1h')
    const answer = await logIn(browser, ada)
    expect(await app.eventsFrom(answer)).toEqual([
      'SESSION_TERMINATED',
      'TOKEN_REUSE_DETECTED',
      'LOGIN_SUCCEEDED',
      'SESSION_CREATED',
    ])
    await app.mail(ada.email, SUBJECTS.sessionEnded)
    const refused = await app.anonymous.call(RefreshDocument, { input: { refreshToken } })
    expect(expectType(refused, 'InvalidRefreshTokenError').reason).toBe('REVOKED')
    expectType(await (await browser.withCsrfToken()).call(RefreshDocument), 'RefreshSuccess')
  })

  test.each([
    ['no token', 'rubbish%20%00"; DROP TABLE'],
    ['a made-up token', `${'A'.repeat(24)}${'B'.repeat(43)}`],
    ['nothing', ''],
  ])('succeeds with a cookie that holds %s', async (_, value) => {
    const ada = await app.newUser()
    expectType(await withCookie(value).call(LoginDocument, { input: credentials(ada) }), 'LoginSuccess')
    expect(await open(ada)).toBe(2)
  })

  test('succeeds with the cookie of a session that has ended', async () => {
    const ada = await app.newUser()
    const browser = await ada.openBrowser()
    const token = tokenOf(browser)
    await (await browser.withCsrfToken()).call(LogoutDocument)
    const answer = await withCookie(token).execute(LoginDocument, { input: credentials(ada) })
    expect(await app.eventsFrom(answer)).toEqual(['LOGIN_SUCCEEDED', 'SESSION_CREATED'])
  })

  test('ends nothing when it fails, or when the tokens go into the body', async () => {
    const ada = await app.newUser()
    const browser = await ada.openBrowser()
    await browser.call(LoginDocument, { input: { identifier: ada.email, password: NEXT_PASSWORD } })
    expect(await open(ada)).toBe(2)
    await browser.call(LoginDocument, { input: { ...credentials(ada), tokenDelivery: 'BODY' } })
    expect(await open(ada)).toBe(3)
  })

  test('ends nothing when the account is locked before the new session opens', async () => {
    const ada = await app.newUser()
    const token = tokenOf(await ada.openBrowser())
    const guess = () => app.anonymous.call(LoginDocument, { input: { identifier: ada.email, password: NEXT_PASSWORD } })
    for (let count = 0; count < 4; count += 1) expectType(await guess(), 'InvalidCredentialsError')
    const beside = await startApp({ beside: app })
    const opening = await lockDatabase(app.installation, 'LOCK TABLE refresh_tokens IN SHARE MODE')
    const answer = beside.anonymous
      .with({ cookie: `${COOKIE}=${token}` })
      .execute(LoginDocument, { input: credentials(ada) })
    await opening.untilWaiting(1)
    expectType(await guess(), 'AccountLockedError')
    await opening.release()
    expectType((await answer).data.login, 'AccountLockedError')
    expect(await open(ada)).toBe(2)
  })

  test('locks the account before the session, as whatever changes a password does: neither waits for the other', async () => {
    const ada = await app.newUser()
    const browser = await ada.openBrowser()
    const account = await lockDatabase(app.installation, `SELECT FROM users WHERE id = '${ada.id}' FOR UPDATE`)
    const answer = logIn(browser, ada)
    await account.untilWaiting(1)
    const free = `SELECT FROM sessions WHERE user_id = '${ada.id}' FOR UPDATE NOWAIT`
    await (await lockDatabase(app.installation, free)).release()
    await account.release()
    expectType((await answer).data.login, 'LoginSuccess')
  })

  test('locks two accounts in one order, so that two that take the place of each other end both', async () => {
    const [ada, bob] = [await app.newUser(), await app.newUser()]
    for (const [user, other] of [
      [ada, bob],
      [bob, ada],
    ] as const) {
      const browser = await other.openBrowser()
      const first = await lockDatabase(app.installation, `SELECT FROM users WHERE id = '${ada.id}' FOR UPDATE`)
      const answer = logIn(browser, user)
      await first.untilWaiting(1)
      const second = await lockDatabase(app.installation, `SELECT FROM users WHERE id = '${bob.id}' FOR UPDATE NOWAIT`)
      await first.release()
      await second.untilWaiting(1)
      await second.release()
      expectType((await answer).data.login, 'LoginSuccess')
    }
    expect([await open(ada), await open(bob)]).toEqual([2, 2])
  })

  test('with an exchange token waits for the account before it uses the token up: neither for the other', async () => {
    const { email } = await app.register()
    const { code } = proofOf(await app.mail(email, SUBJECTS.verification))
    const verified = await app.anonymous.call(VerifyEmailDocument, { input: { email, code } })
    const { exchangeToken } = expectType(verified, 'VerifyEmailSuccess')
    const owner = `(SELECT id FROM users WHERE email = '${email}')`
    const account = await lockDatabase(app.installation, `SELECT FROM users WHERE id = ${owner} FOR UPDATE`)
    const answer = app.browser().execute(ExchangeTokenDocument, { input: { token: exchangeToken } })
    await account.untilWaiting(1)
    await lockDatabase(app.installation, `SELECT FROM one_time_tokens WHERE user_id = ${owner} FOR UPDATE NOWAIT`).then(
      (free) => free.release(),
    )
    await account.release()
    expectType((await answer).data.exchangeToken, 'ExchangeTokenSuccess')
  })

  test('at MAX_CONCURRENT_SESSIONS ends no other session', async () => {
    const few = await startApp({ env: { MAX_CONCURRENT_SESSIONS: '2' } })
    const ada = await few.newUser()
    const answer = await logIn(await ada.openBrowser(), ada)
    expect(await few.eventsFrom(answer)).toEqual(['LOGGED_OUT', 'LOGIN_SUCCEEDED', 'SESSION_CREATED'])
    expect(await open(ada)).toBe(2)
  })

  test('at MAX_CONCURRENT_SESSIONS tells of a copy of its token', async () => {
    const one = await startApp({ env: { MAX_CONCURRENT_SESSIONS: '1' } })
    const ada = await one.newUser()
    const browser = await ada.openBrowser()
    await one.anonymous.call(RefreshDocument, { input: { refreshToken: tokenOf(browser) } })
    one.clock.advance('1h')
    expect(await one.eventsFrom(await logIn(browser, ada))).toContain('TOKEN_REUSE_DETECTED')
    await one.mail(ada.email, SUBJECTS.sessionEnded)
  })
})

import { describe, expect, test } from 'vitest'
import { NEXT_PASSWORD, startApp } from '../support/app.js'
import { expectType } from '../support/client.js'
import { DEVICES } from '../support/devices.js'
import {
  ChangePasswordDocument,
  LoginDocument,
  MeDocument,
  RefreshDocument,
  RequestPasswordResetDocument,
  ResetPasswordDocument,
} from '../support/generated/graphql.js'
import { proofOf, SUBJECTS } from '../support/mailbox.js'
import { linkOf, openNotMe, tokenOf } from '../support/not-me.js'
import type { User } from '../support/user.js'

const app = await startApp({ env: { PUBLIC_URL: 'http://localhost:4999', REFRESH_GRACE_PERIOD: '0s' } })

const ADDRESS = '198.51.100.44'
const WHERE = { 'user-agent': DEVICES.safariOnIphone, 'x-forwarded-for': ADDRESS }
const elsewhere = app.anonymous.with(WHERE)
const LAST_PASSWORD = 'nine wooden boats upon the river'
const signIn = async ({ email }: User, password: string) =>
  (await app.anonymous.call(LoginDocument, { input: { identifier: email, password, tokenDelivery: 'BODY' } }))
    .__typename

/** A person's browser on the page. */
const open = (token: string) => openNotMe(app.url, token)
const press = async (token: string) => (await open(token)).press()

/** What somebody does to an account, and which mail tells its owner. */
const CASES: Record<string, { subject: string; cause: (ada: User) => Promise<unknown>; password?: string }> = {
  'a changed password': {
    subject: SUBJECTS.passwordChanged,
    password: NEXT_PASSWORD,
    cause: async (ada) => {
      const input = { currentPassword: ada.password, newPassword: NEXT_PASSWORD }
      expectType(await ada.with(WHERE).call(ChangePasswordDocument, { input }), 'ChangePasswordSuccess')
    },
  },
  'a reset password': {
    subject: SUBJECTS.passwordReset,
    password: NEXT_PASSWORD,
    cause: async (ada) => {
      await app.anonymous.call(RequestPasswordResetDocument, { input: { email: ada.email } })
      const { token } = proofOf(await app.mail(ada.email, SUBJECTS.reset))
      const input = { token, newPassword: NEXT_PASSWORD }
      expectType(await elsewhere.call(ResetPasswordDocument, { input }), 'ResetPasswordSuccess')
    },
  },
  'a new device': { subject: SUBJECTS.newDevice, cause: (ada) => ada.logIn({}, WHERE) },
  'a lockout': {
    subject: SUBJECTS.locked,
    cause: async ({ email }) => {
      const input = { identifier: email, password: NEXT_PASSWORD }
      for (let time = 1; time <= 5; time += 1) await elsewhere.call(LoginDocument, { input })
    },
  },
  'a refresh token that came twice': {
    subject: SUBJECTS.sessionEnded,
    cause: async ({ refreshToken }) => {
      const phone = elsewhere
      for (let time = 1; time <= 2; time += 1) await phone.call(RefreshDocument, { input: { refreshToken } })
    },
  },
}
const cases = Object.entries(CASES)

describe.each(cases)('%s', (_, { subject, cause, password }) => {
  test('is told with time, device, place and address, and with a link for who knows nothing of it', async () => {
    const ada = await app.newUser()
    await cause(ada)
    const mail = await app.mail(ada.email, subject)
    for (const part of [mail.text, mail.html]) {
      expect(part).toContain('Safari on iOS')
      expect(part).toContain(ADDRESS)
      expect(part).toContain(String(app.clock.now().getUTCFullYear()))
    }
    expect(mail.text).toMatch(/^Time: .+\nDevice: .+\nPlace: Unknown\nIP address: /m)
    // Whose session it was, beside who came with the copy.
    if (subject === SUBJECTS.sessionEnded) expect(mail.text).toContain('\nSession on: Firefox on Linux\nTime: ')
    expect(linkOf(mail).origin).toBe('http://localhost:4999')
    expect(mail.html).toContain(linkOf(mail).href)
  })

  test('and was not me: every session ends, and no password works until a new one is set by mail', async () => {
    const ada = await app.newUser()
    await cause(ada)
    const thief = (await signIn(ada, password ?? ada.password)) === 'LoginSuccess'
    expect(thief || subject === SUBJECTS.locked).toBe(true)
    const { status, page, requestId } = await press(tokenOf(await app.mail(ada.email, subject)))
    expect(status).toBe(200)
    expect(page).toMatch(/role="status"><p>All sessions have ended, and the password that your account had no longer/)
    expect(page).not.toContain(ada.email)

    expect(await ada.call(MeDocument)).toBeNull()
    for (const each of [ada.password, NEXT_PASSWORD]) expect(await signIn(ada, each)).not.toBe('LoginSuccess')
    const { token } = proofOf(await app.mail(ada.email, SUBJECTS.reset))
    const used = await app.anonymous.call(ResetPasswordDocument, {
      input: { token, newPassword: password ?? ada.password },
    })
    expectType(used, 'WeakPasswordError')
    const input = { token, newPassword: LAST_PASSWORD }
    const reset = await app.anonymous.call(ResetPasswordDocument, { input })
    expect(expectType(reset, 'ResetPasswordSuccess').terminatedSessions).toBe(0)
    expect(await signIn(ada, LAST_PASSWORD)).toBe('LoginSuccess')

    const back = await ada.logIn({ password: LAST_PASSWORD })
    const events = (await app.eventsOf(back, {})).filter((event) => event.correlationId === requestId)
    const ended = events.filter(({ type }) => type === 'SESSION_TERMINATED')
    const [report] = events.filter(({ type }) => type === 'PASSWORD_RESET_REQUESTED')
    expect(report).toMatchObject({ success: true, metadata: { reason: 'NOT_ME', terminatedSessions: ended.length } })
  })
})

/** Somebody who has got a mail about a new device. */
async function warned() {
  const ada = await app.newUser()
  const thief = await ada.logIn({}, WHERE)
  return { ada, thief, token: tokenOf(await app.mail(ada.email, SUBJECTS.newDevice)) }
}

describe('the link', () => {
  test('changes nothing by being opened, and its page needs no script', async () => {
    const { ada, token } = await warned()
    const before = await ada.state()
    const { response, page } = await open(token)
    expect(response.status).toBe(200)
    expect(response.headers.get('content-security-policy')).toMatch(/^default-src 'none'/)
    expect(page).toContain('<form method="post" action="/not-me">')
    expect(page).not.toMatch(/<script|@example\.com/)
    expect(await ada.state()).toEqual(before)
  })

  test('works once, also when it is used twenty times at once', async () => {
    const { ada, token } = await warned()
    const answers = await Promise.all(Array.from({ length: 20 }, () => press(token)))
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1)
    expect(answers.filter(({ status }) => status === 400)).toHaveLength(19)
    expect((await app.mailsTo(ada.email)).filter(({ subject }) => subject === SUBJECTS.reset)).toHaveLength(1)
  })

  test('works for a week', async () => {
    const [early, late] = [await warned(), await warned()]
    app.clock.advance('6d')
    expect((await press(early.token)).status).toBe(200)
    app.clock.advance('25h')
    expect((await press(late.token)).status).toBe(400)
    expect(await signIn(late.ada, late.ada.password)).toBe('LoginSuccess')
  })

  test('makes the next password a later one, also where the clock of the server is behind that of another', async () => {
    const ada = await app.newUser()
    const input = { currentPassword: ada.password, newPassword: NEXT_PASSWORD }
    const changed = expectType(await ada.call(ChangePasswordDocument, { input }), 'ChangePasswordSuccess')
    app.clock.advance('-4s')
    await press(tokenOf(await app.mail(ada.email, SUBJECTS.passwordChanged)))
    const { token } = proofOf(await app.mail(ada.email, SUBJECTS.reset))
    await app.anonymous.call(ResetPasswordDocument, { input: { token, newPassword: LAST_PASSWORD } })
    const back = await ada.logIn({ password: LAST_PASSWORD })
    const [before, after] = [changed.authentication.user, await back.call(MeDocument)]
    expect(Date.parse(after?.passwordChangedAt ?? '')).toBeGreaterThan(Date.parse(before.passwordChangedAt))
    app.clock.advance('4s')
  })

  test('of one mail outlives later mails, and dies with the first that is used', async () => {
    const { ada, token } = await warned()
    await ada.logIn({}, { 'user-agent': DEVICES.googlebot })
    const later = tokenOf(await app.mail(ada.email, SUBJECTS.newDevice))
    expect(later).not.toBe(token)
    expect((await press(token)).status).toBe(200)
    expect((await press(later)).status).toBe(400)
  })

  test('ends what was mailed before, also the link of a reset, and nothing of anybody else', async () => {
    const [{ ada, token }, bob] = [await warned(), await app.newUser()]
    const linkTo = async ({ email }: User) => {
      await app.anonymous.call(RequestPasswordResetDocument, { input: { email } })
      return proofOf(await app.mail(email, SUBJECTS.reset)).token
    }
    const [read, good] = [await linkTo(ada), await linkTo(bob)]
    expect((await press(token)).status).toBe(200)
    expect(await app.eventsOf(await bob.logIn(), { types: ['NEW_DEVICE'] })).toEqual([])
    const use = (token: string) =>
      elsewhere.call(ResetPasswordDocument, { input: { token, newPassword: NEXT_PASSWORD } })
    expectType(await use(read), 'InvalidTokenError')
    expectType(await use(good), 'ResetPasswordSuccess')
  })

  test('is not good for anything else, nor is another token good for it', async () => {
    const { ada, token } = await warned()
    const input = { token, newPassword: NEXT_PASSWORD }
    expectType(await app.anonymous.call(ResetPasswordDocument, { input }), 'InvalidTokenError')
    await app.anonymous.call(RequestPasswordResetDocument, { input: { email: ada.email } })
    const { token: resetToken } = proofOf(await app.mail(ada.email, SUBJECTS.reset))
    expect((await press(resetToken)).status).toBe(400)
    expect((await press(ada.refreshToken)).status).toBe(400)
    expect(await ada.call(MeDocument)).not.toBeNull()
  })

  test('says the same whether it was used, has expired or never was', async () => {
    const [used, expired] = [await warned(), await warned()]
    await press(used.token)
    const again = await press(used.token)
    app.clock.advance('8d')
    const answers = [again, await press(expired.token), await press('made-up'), await press('\u0000%')]
    for (const { status, page } of answers) expect({ status, page }).toEqual({ status: 400, page: again.page })
    expect((await fetch(`${app.url}/not-me`)).status).toBe(400)
  })

  test('acts for nobody who has not opened its page: the form needs the CSRF field', async () => {
    const { ada, token } = await warned()
    const page = await open(token)
    expect((await page.press({ csrf: '' })).status).toBe(403)
    const body = new URLSearchParams({ token })
    expect((await fetch(`${app.url}/not-me`, { method: 'POST', body })).status).toBe(403)
    expect((await fetch(`${app.url}/not-me?token=${token}`, { method: 'DELETE' })).status).toBe(405)
    expect(await ada.call(MeDocument)).not.toBeNull()
  })

  test('cannot be tried at will: what is made up is limited by address', async () => {
    const strict = await startApp({ env: { RATE_LIMITS: 'anonymous=3/1h' } })
    const { press } = await openNotMe(strict.url, 'x')
    const answers = [await press(), await press(), await press(), await press()]
    expect(answers.map((each) => `${each.status} ${each.remaining}`)).toEqual(['400 2', '400 1', '400 0', '429 0'])
    expect(Number(answers[3]?.retryAfter)).toBeGreaterThan(3000)
  })

  test('mails nothing to an account that was deactivated meanwhile', async () => {
    const { ada, token } = await warned()
    await app.operator.deactivate(ada.email)
    expect((await press(token)).status).toBe(200)
    expect((await app.mailsTo(ada.email)).map(({ subject }) => subject)).not.toContain(SUBJECTS.reset)
  })

  test('makes the device of the thief unknown', async () => {
    const ada = await app.newUser()
    const browser = app.browser(WHERE)
    const input = { identifier: ada.email, password: ada.password }
    expectType(await browser.call(LoginDocument, { input }), 'LoginSuccess')
    await press(tokenOf(await app.mail(ada.email, SUBJECTS.newDevice)))
    for (let time = 1; time <= 5; time += 1) await elsewhere.call(LoginDocument, { input })
    expectType(await browser.call(LoginDocument, { input }), 'AccountLockedError')
    // Should he get hold of the next password as well, that is news again.
    const { token } = proofOf(await app.mail(ada.email, SUBJECTS.reset))
    await app.anonymous.call(ResetPasswordDocument, { input: { token, newPassword: NEXT_PASSWORD } })
    await elsewhere.call(LoginDocument, { input: { ...input, password: NEXT_PASSWORD, tokenDelivery: 'BODY' } })
    expect(await app.eventsOf(ada, { types: ['NEW_DEVICE'] })).toHaveLength(2)
  })
})

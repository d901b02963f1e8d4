import { expect, test } from 'vitest'
import { NEXT_PASSWORD, startApp } from '../support/app.js'
import { expectType } from '../support/client.js'
import { cookieOf, createDevices, NAME } from '../support/device-cookies.js'
import { DEVICES } from '../support/devices.js'
import { TEST_ENVIRONMENT } from '../support/environment.js'
import {
  LoginDocument,
  LogoutDocument,
  RequestPasswordResetDocument,
  ResetPasswordDocument,
  UpdateProfileDocument,
} from '../support/generated/graphql.js'
import { proofOf, SUBJECTS } from '../support/mailbox.js'
import type { User } from '../support/user.js'

const app = await startApp()
const { clock } = app
const { stranger, signIn, fail, knownTo, carrying } = createDevices(app)
const LOCKING = [...new Array(4).fill('InvalidCredentialsError'), 'AccountLockedError', 'AccountLockedError']

test('Strangers who lock an account lock out neither the device that its owner knows, nor let others in', async () => {
  const ada = await app.newUser({ username: 'known' })
  const browser = await knownTo(ada)
  expect(await fail(stranger, ada.email, 6)).toEqual(LOCKING)
  expect(await signIn(browser, ada.email, ada.password)).toBe('LoginSuccess')
  expect(await signIn(browser, 'known', ada.password)).toBe('LoginSuccess')
  // Not even the owner's success lifts the strangers' lock.
  expect(await signIn(app.browser(), ada.email, ada.password)).toBe('AccountLockedError')
  expect(await signIn(stranger, ada.email, ada.password)).toBe('AccountLockedError')
})

test.each([
  ['login=5/1m,25/1h', 5, 'user', '198.51.100.1'],
  ['login=100/1m,6/1h', 6, 'nobody', '198.51.100.2'],
  ['login=100/1m,100/1h;anonymous=6/1h', 6, 'nobody', '198.51.100.3'],
])(
  'Strangers at its address use up no limit of a device that its owner knows: %s',
  async (RATE_LIMITS, calls, whose, address) => {
    const username = `known.${calls}.${RATE_LIMITS.length}`
    const ada = await app.newUser({ username })
    const cookie = cookieOf(await knownTo(ada))
    const server = await startApp({ env: { RATE_LIMITS: `*=100000/1m;${RATE_LIMITS}` }, beside: app })
    // What the cases count in one Redis does not add up.
    const there = server.anonymous.with({ 'x-forwarded-for': address })
    const input = { identifier: whose === 'user' ? ada.email : 'nobody@example.com', password: NEXT_PASSWORD }
    for (let call = 0; call < calls; call += 1) await there.call(LoginDocument, { input })
    const mine = { identifier: ada.email, password: ada.password, tokenDelivery: 'BODY' } as const
    expect((await there.refusal(LoginDocument, { input: mine })).code).toBe('RATE_LIMITED')
    const known = there.with({ cookie: `${NAME}=${encodeURIComponent(cookie)}` })
    expectType(await known.call(LoginDocument, { input: mine }), 'LoginSuccess')
    expectType(await known.call(LoginDocument, { input: { ...mine, identifier: username } }), 'LoginSuccess')
    // It is no way to sign in to others.
    if (whose === 'nobody') expect((await known.refusal(LoginDocument, { input })).code).toBe('RATE_LIMITED')
  },
)

test('Guesses on known devices are limited as well, all devices of an account together', async () => {
  const ada = await app.newUser()
  const [cookie, another] = [cookieOf(await knownTo(ada)), cookieOf(await knownTo(ada))]
  const env = { RATE_LIMITS: '*=100000/1m;login=100/1m,3/1h', LOCKOUT_THRESHOLD: '100' }
  const server = await startApp({ env, beside: app })
  const known = server.anonymous.with({ cookie: `${NAME}=${encodeURIComponent(cookie)}` })
  expect(await fail(known, ada.email, 3)).toEqual(new Array(3).fill('InvalidCredentialsError'))
  const input = { identifier: ada.email, password: ada.password, tokenDelivery: 'BODY' } as const
  expect((await known.refusal(LoginDocument, { input })).code).toBe('RATE_LIMITED')
  const other = server.anonymous.with({ cookie: `${NAME}=${encodeURIComponent(another)}` })
  expect((await other.refusal(LoginDocument, { input })).code).toBe('RATE_LIMITED')
})

test('The cookie is for the server alone and for a year; it comes with either delivery and outlives a logout', async () => {
  const ada = await app.newUser()
  const secure = await startApp({ env: { PUBLIC_URL: 'https://auth.example.com' }, beside: app })
  for (const tokenDelivery of ['BODY', 'COOKIE'] as const) {
    const browser = secure.browser()
    const input = { identifier: ada.email, password: ada.password, tokenDelivery }
    expectType(await browser.call(LoginDocument, { input }), 'LoginSuccess')
    const cookie = browser.lastSetCookies().find(({ name }) => name === `__Host-${NAME}`)
    expect(cookie?.attributes).toMatchObject({ httponly: true, secure: true, samesite: 'Lax', path: '/' })
    expect(Date.parse(String(cookie?.attributes.expires)) - clock.now().getTime()).toBeGreaterThan(364 * 86_400_000)
    await (await browser.withCsrfToken()).call(LogoutDocument)
    expect(browser.cookies.has(`__Host-${NAME}`)).toBe(true)
  }
})

test('Five failures on a known device lock that device, and nothing else', async () => {
  const ada = await app.newUser()
  const [browser, other] = [await knownTo(ada), await knownTo(ada)]
  expect(await fail(browser, ada.email, 6)).toEqual(LOCKING)
  expect(await signIn(browser, ada.email, ada.password)).toBe('AccountLockedError')
  expect(await signIn(other, ada.email, ada.password)).toBe('LoginSuccess')
  expect(await signIn(stranger, ada.email, ada.password)).toBe('LoginSuccess')
  expect(await signIn(browser, ada.email, ada.password)).toBe('AccountLockedError')
  const [event] = await app.eventsOf(ada, { types: ['ACCOUNT_LOCKED'] })
  expect(event?.metadata).toMatchObject({ onKnownDevice: true })
  clock.advance('30m')
  expect(await signIn(browser, ada.email, ada.password)).toBe('LoginSuccess')
})

test('Who resets the password has a device that is known from then on: strangers do not lock it out', async () => {
  const ada = await app.newUser()
  const browser = app.browser()
  await browser.call(RequestPasswordResetDocument, { input: { email: ada.email } })
  const { token } = proofOf(await app.mail(ada.email, SUBJECTS.reset))
  const input = { token, newPassword: 'nine pale rivers under glass' }
  expectType(await browser.call(ResetPasswordDocument, { input }), 'ResetPasswordSuccess')
  expect(await fail(stranger, ada.email, 6)).toEqual(LOCKING)
  expect(await signIn(app.browser(), ada.email, input.newPassword)).toBe('AccountLockedError')
  expect(await signIn(browser, ada.email, input.newPassword)).toBe('LoginSuccess')
})

test('An operator who unlocks the account unlocks its devices too', async () => {
  const ada = await app.newUser()
  const browser = await knownTo(ada)
  await fail(browser, ada.email, 5)
  await fail(stranger, ada.email, 5)
  await app.operator.unlock(ada.email)
  expect(await signIn(browser, ada.email, ada.password)).toBe('LoginSuccess')
  expect(await signIn(stranger, ada.email, ada.password)).toBe('LoginSuccess')
})

test('On a shared device each account has its own count: one success buys no guesses at another', async () => {
  const [ada, eve] = [await app.newUser(), await app.newUser()]
  const browser = await knownTo(ada)
  expect(await signIn(browser, eve.email, eve.password)).toBe('LoginSuccess')
  expect(await fail(browser, ada.email, 4)).toEqual(LOCKING.slice(0, 4))
  expect(await signIn(browser, eve.email, eve.password)).toBe('LoginSuccess')
  expect(await fail(browser, ada.email, 1)).toEqual(['AccountLockedError'])
  expect(await signIn(browser, eve.email, eve.password)).toBe('LoginSuccess')
})

test('A device keeps the eight accounts that have signed in last: of nine, the first is no longer known', async () => {
  const browser = app.browser()
  const people: User[] = []
  for (let person = 1; person <= 9; person += 1) {
    const user = await app.newUser()
    people.push(user)
    expect(await signIn(browser, user.email, user.password)).toBe('LoginSuccess')
  }
  const [first, second] = people as [User, User]
  for (const { email } of [first, second]) expect(await fail(stranger, email, 6)).toEqual(LOCKING)
  expect(await signIn(browser, second.email, second.password)).toBe('LoginSuccess')
  expect(await signIn(browser, first.email, first.password)).toBe('AccountLockedError')
})

test('A cookie that is forged, of another account, or of another installation gives nothing', async () => {
  const [ada, eve] = [await app.newUser(), await app.newUser()]
  const [adas, eves] = [cookieOf(await knownTo(ada)), cookieOf(await knownTo(eve))]
  // Signs with a key of its own, and still accepts the one of this installation.
  const keys = ['another-key-that-is-as-long-as-it-has-to-be', TEST_ENVIRONMENT.SECRET_KEY]
  const elsewhere = await startApp({ env: { SECRET_KEY: keys.join() }, beside: app })
  const foreign = elsewhere.browser()
  expect(await signIn(foreign, ada.email, ada.password)).toBe('LoginSuccess')
  const [payload = '', tag = ''] = adas.split('.')
  const text = Buffer.from(eves.split('.')[0] ?? '', 'base64url').toString()
  const renamed = Buffer.from(text.replace(eve.id, ada.id)).toString('base64url')
  await fail(stranger, ada.email, 5)
  expect(await signIn(carrying(adas), ada.email, ada.password)).toBe('LoginSuccess')
  const rotated = elsewhere.anonymous.with({ cookie: `${NAME}=${adas}` })
  expect(await signIn(rotated, ada.email, ada.password)).toBe('LoginSuccess')
  const forgeries = [
    eves,
    cookieOf(foreign),
    `${renamed}.${eves.split('.')[1]}`,
    ...[`${renamed}.${tag}`, `${payload}.`, payload, `.${tag}`, `${adas}.${tag}`, `${payload}.${'A'.repeat(43)}`, '{}'],
  ]
  for (const forged of forgeries) {
    expect(await signIn(carrying(forged), ada.email, ada.password), forged).toBe('AccountLockedError')
  }
})

test('A cookie gives nothing after a year, and is renewed by signing in when it is a month old', async () => {
  const ada = await app.newUser()
  const browser = await knownTo(ada)
  const first = cookieOf(browser)
  clock.advance('29d')
  await signIn(browser, ada.email, ada.password)
  expect(cookieOf(browser)).toBe(first)
  clock.advance('2d')
  await signIn(browser, ada.email, ada.password)
  const second = cookieOf(browser)
  expect(second).not.toBe(first)
  clock.advance('340d')
  await fail(stranger, ada.email, 5)
  expect(await signIn(carrying(first), ada.email, ada.password)).toBe('AccountLockedError')
  expect(await signIn(carrying(second), ada.email, ada.password)).toBe('LoginSuccess')
})

test('A locked identifier without an account is answered as before, with whatever cookie', async () => {
  const browser = await knownTo(await app.newUser())
  expect(await fail(browser, 'nobody-at-all@example.com', 6)).toEqual(LOCKING)
})

test('A known device is no new one, whatever it calls itself; without its cookie it is', async () => {
  const ada = await app.newUser()
  const cookie = cookieOf(await knownTo(ada))
  const renamed = { 'user-agent': DEVICES.safariOnIpad }
  expect(await signIn(carrying(cookie).with(renamed), ada.email, ada.password)).toBe('LoginSuccess')
  expect(await app.eventsOf(ada, { types: ['NEW_DEVICE'] })).toEqual([])
  expect(await signIn(app.anonymous.with({ 'user-agent': DEVICES.googlebot }), ada.email, ada.password)).toBe(
    'LoginSuccess',
  )
  expect(await app.eventsOf(ada, { types: ['NEW_DEVICE'] })).toHaveLength(1)
  await app.mail(ada.email, SUBJECTS.newDevice)
})

test('A device knows its account by another name as soon as that was signed in with', async () => {
  const ada = await app.newUser({ username: 'ada.byron' })
  const browser = await knownTo(ada)
  const before = cookieOf(browser)
  await ada.call(UpdateProfileDocument, { input: { username: 'ada.lovelace' } })
  expect(await signIn(browser, 'ada.lovelace', ada.password)).toBe('LoginSuccess')
  const after = cookieOf(browser)
  const server = await startApp({ env: { RATE_LIMITS: '*=100000/1m;login=100/1m,2/1h' }, beside: app })
  const there = server.anonymous.with({ 'x-forwarded-for': '198.51.100.77' })
  const nobody = { identifier: 'nobody@example.com', password: NEXT_PASSWORD }
  for (let call = 0; call < 2; call += 1) await there.call(LoginDocument, { input: nobody })
  const mine = { identifier: 'ada.lovelace', password: ada.password, tokenDelivery: 'BODY' } as const
  const carrying = (cookie: string) => there.with({ cookie: `${NAME}=${encodeURIComponent(cookie)}` })
  expect((await carrying(before).refusal(LoginDocument, { input: mine })).code).toBe('RATE_LIMITED')
  expectType(await carrying(after).call(LoginDocument, { input: mine }), 'LoginSuccess')
})

import { expect, test } from 'vitest'
import { NEXT_PASSWORD, startApp } from '../support/app.js'
import { expectType } from '../support/client.js'
import { stopClock } from '../support/clock.js'
import { lockDatabase } from '../support/database-lock.js'
import { cookieOf, createDevices, NAME } from '../support/device-cookies.js'
import { ChangePasswordDocument, LoginDocument, MeDocument } from '../support/generated/graphql.js'

const app = await startApp()
const { clock } = app
const { stranger, signIn, fail, knownTo, carrying } = createDevices(app)

test('A change of the password makes every device unknown but the one that made it', async () => {
  const ada = await app.newUser()
  const [browser, other] = [await ada.openBrowser(), await knownTo(ada)]
  clock.advance('1m')
  const page = await browser.withCsrfToken()
  const login = await page.call(LoginDocument, { input: { identifier: ada.email, password: ada.password } })
  const { accessToken } = expectType(login, 'LoginSuccess').authentication
  clock.advance('1m')
  const input = { currentPassword: ada.password, newPassword: NEXT_PASSWORD }
  const signed = page.with({ authorization: `Bearer ${accessToken}` })
  expectType(await signed.call(ChangePasswordDocument, { input }), 'ChangePasswordSuccess')
  for (let time = 1; time <= 5; time += 1) await signIn(stranger, ada.email, ada.password)
  expect(await signIn(other, ada.email, NEXT_PASSWORD)).toBe('AccountLockedError')
  expect(await signIn(browser, ada.email, NEXT_PASSWORD)).toBe('LoginSuccess')
})

test('A device that knows an earlier password uses up no calls of those that know the present one', async () => {
  const ada = await app.newUser()
  const [former, present] = [cookieOf(await knownTo(ada)), app.browser({ authorization: `Bearer ${ada.accessToken}` })]
  await present.call(ChangePasswordDocument, { input: { currentPassword: ada.password, newPassword: NEXT_PASSWORD } })
  const { anonymous } = await startApp({ env: { RATE_LIMITS: '*=100000/1m;login=3/1m,3/1h' }, beside: app })
  const at = (cookie: string) => anonymous.with({ cookie: `${NAME}=${encodeURIComponent(cookie)}` })
  await fail(at(former), ada.email, 3)
  expect(await signIn(at(cookieOf(present)), ada.email, NEXT_PASSWORD)).toBe('LoginSuccess')
})

test('A device that knows an earlier password uses up no calls of another that knows it too', async () => {
  const ada = await app.newUser()
  const [thief, laptop] = [cookieOf(await knownTo(ada)), cookieOf(await knownTo(ada))]
  await ada.call(ChangePasswordDocument, { input: { currentPassword: ada.password, newPassword: NEXT_PASSWORD } })
  const { anonymous } = await startApp({ env: { RATE_LIMITS: '*=100000/1m;login=3/1m,3/1h' }, beside: app })
  const at = (address: string, cookie: string) =>
    anonymous.with({ 'x-forwarded-for': address, cookie: `${NAME}=${encodeURIComponent(cookie)}` })
  // Without a password no failure is counted, and nothing is locked.
  const input = { identifier: ada.email, password: '' }
  for (let time = 1; time <= 3; time += 1) await at('203.0.113.20', thief).refusal(LoginDocument, { input })
  expect((await at('203.0.113.20', thief).refusal(LoginDocument, { input })).code).toBe('RATE_LIMITED')
  expect(await signIn(at('203.0.113.21', laptop), ada.email, NEXT_PASSWORD)).toBe('LoginSuccess')
})

test('A device that signs in at the very moment of a change of the password does not know the new one', async () => {
  const ada = await app.newUser()
  clock.advance('1m')
  stopClock(clock)
  const device = carrying(cookieOf(await knownTo(ada)))
  await ada.call(ChangePasswordDocument, { input: { currentPassword: ada.password, newPassword: NEXT_PASSWORD } })
  for (let time = 1; time <= 4; time += 1)
    expect(await signIn(device, ada.email, ada.password)).not.toBe('LoginSuccess')
  expect(await signIn(device, ada.email, ada.password)).toBe('AccountLockedError')
  expect(await signIn(stranger, ada.email, NEXT_PASSWORD)).toBe('AccountLockedError')
})

test('A sign-in that waits for the end of another session comes before the change of the password, which ends it', async () => {
  const [ada, mallory] = [await app.newUser(), await app.newUser()]
  const browser = await mallory.openBrowser()
  const lock = await lockDatabase(app.installation, `SELECT FROM sessions WHERE user_id = '${mallory.id}' FOR UPDATE`)
  const signedIn = browser.call(LoginDocument, { input: { identifier: ada.email, password: ada.password } })
  await lock.untilWaiting(1)
  const input = { currentPassword: ada.password, newPassword: NEXT_PASSWORD }
  const changed = ada.call(ChangePasswordDocument, { input })
  await lock.untilWaiting(2)
  await lock.release()
  const { accessToken } = expectType(await signedIn, 'LoginSuccess').authentication
  expectType(await changed, 'ChangePasswordSuccess')
  expect(await app.anonymous.with({ authorization: `Bearer ${accessToken}` }).call(MeDocument)).toBeNull()
})

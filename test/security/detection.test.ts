import { describe, expect, test } from 'vitest'
import { NEXT_PASSWORD, startApp, type TestApp } from '../support/app.js'
import { lockDatabase } from '../support/database-lock.js'
import { alarmsIn, untilJudged } from '../support/detection.js'
import { DEVICES } from '../support/devices.js'
import {
  ChangePasswordDocument,
  LoginDocument,
  LogoutDocument,
  RequestPasswordResetDocument,
} from '../support/generated/graphql.js'
import { AT, makePlaces } from '../support/geoip.js'
import { createInstallation } from '../support/installation.js'
import { SUBJECTS } from '../support/mailbox.js'
import { processEnv, START_MS, startProcess } from '../support/server-process.js'
import type { User } from '../support/user.js'

const GEOIP_DATABASE = makePlaces()
const env = { DETECTION_RULES: '', GEOIP_DATABASE, LOCKOUT_THRESHOLD: '6' }
const app = await startApp({ env })
const { clock } = app

const from = (address: string) => ({ 'x-forwarded-for': address })
const guess = (identifier: string, address: string, at: TestApp = app) =>
  at.anonymous.with(from(address)).call(LoginDocument, { input: { identifier, password: NEXT_PASSWORD } })
async function guessOften(identifier: string, address: string, times: number): Promise<void> {
  for (let time = 1; time <= times; time += 1) await guess(identifier, address)
}
const requestReset = (email: string, address: string) =>
  app.anonymous.with(from(address)).call(RequestPasswordResetDocument, { input: { email } })

const alarmsOf = ({ id }: User, at: TestApp = app) => alarmsIn(at, { userId: id })
const rulesOf = async (user: User, at: TestApp = app) => (await alarmsOf(user, at)).map(({ rule }) => rule)
const rulesAt = async (ipAddress: string, at: TestApp = app) =>
  (await alarmsIn(at, { ipAddress })).filter(({ event }) => !event.userId).map(({ rule }) => rule)
const subjectsTo = async ({ email }: User) => (await app.mailsTo(email)).map(({ subject }) => subject)
const addresses = (count: number, network: string) =>
  Array.from({ length: count }, (_, index) => `${network}${index + 1}`)
/** An address that no other test uses. */
let addressCount = 0
const newAddress = () => {
  addressCount += 1
  return `198.18.0.${addressCount}`
}

describe('NEW_COUNTRY', () => {
  test('is raised by a sign-in from a country that the account was not used from, once, and mailed', async () => {
    const ada = await app.newUser()
    await ada.logIn({}, from(AT.vienna))
    await ada.logIn({}, from(AT.viennaToo))
    const abroad = await ada.logIn({}, from(AT.bratislava))
    await ada.logIn({}, from(AT.bratislava))

    const [{ event }, ...others] = (await alarmsOf(ada)) as [Awaited<ReturnType<typeof alarmsOf>>[0]]
    expect(others).toEqual([])
    const [login] = await app.eventsOf(ada, { types: ['LOGIN_SUCCEEDED'], sessionId: abroad.sessionId })
    const { userId, sessionId, ipAddress, userAgent, city, country, correlationId } = login ?? expect.fail('No login')
    expect(event).toMatchObject({ userId, sessionId, ipAddress, userAgent, city, country, correlationId })
    expect(event).toMatchObject({
      ...{ type: 'SUSPICIOUS_LOGIN', success: false, riskLevel: 'MEDIUM', city: 'Bratislava', country: 'SK' },
      description: 'Somebody signed in from a country that the account was not used from before.',
      metadata: { rule: 'NEW_COUNTRY', eventId: login?.id, country: 'SK' },
    })
    expect(await subjectsTo(ada)).toEqual([SUBJECTS.suspiciousLogin, SUBJECTS.verification])
    const { text } = await app.mail(ada.email, SUBJECTS.suspiciousLogin)
    for (const fact of ['Bratislava, SK', AT.bratislava, 'Firefox on Linux', 'This was not me:', 'from a country'])
      expect(text).toContain(fact)
  })

  test('needs to know a country before: the first one is none', async () => {
    const ada = await app.newUser()
    await ada.logIn({}, from(AT.sydney))
    expect(await rulesOf(ada)).toEqual([])
  })
})

describe('IMPOSSIBLE_TRAVEL', () => {
  test('is raised by a sign-in from too far away from the one before', async () => {
    const ada = await app.newUser()
    await ada.logIn({}, from(AT.vienna))
    clock.advance('1h')
    await ada.logIn({}, from(AT.sydney))
    const alarms = await alarmsOf(ada)
    expect(alarms.map(({ rule }) => rule).sort()).toEqual(['IMPOSSIBLE_TRAVEL', 'NEW_COUNTRY'])
    const travel = alarms.find(({ rule }) => rule === 'IMPOSSIBLE_TRAVEL')?.event
    expect(travel).toMatchObject({
      riskLevel: 'HIGH',
      metadata: { minutes: 60, from: { city: 'Vienna', country: 'AT' } },
    })
    const { kilometres } = (travel?.metadata ?? {}) as { kilometres?: number }
    // 15,980 km, less what the database may be off by.
    expect(kilometres).toBeGreaterThan(15_900)
    expect(kilometres).toBeLessThan(15_980)
  })

  test('is one mail, together with what else is unusual about the sign-in', async () => {
    const ada = await app.newUser()
    await ada.logIn({}, from(AT.vienna))
    await ada.logIn({}, from(AT.sydney))
    await untilJudged(app)
    expect(await subjectsTo(ada)).toEqual([SUBJECTS.suspiciousLogin, SUBJECTS.verification])
    const { text } = await app.mail(ada.email, SUBJECTS.suspiciousLogin)
    for (const reason of ['from a country', 'so far away']) expect(text).toContain(reason)
  })

  test.each([
    ['after a day, which is time enough', async () => clock.advance('24h'), AT.sydney, ['NEW_COUNTRY']],
    ['to the next town', async () => {}, AT.bratislava, ['NEW_COUNTRY']],
    ['to where only the country is known', async () => {}, AT.somewhereInBrazil, ['NEW_COUNTRY']],
    ['within a town', async () => {}, AT.viennaToo, []],
  ])('is not raised by a journey %s', async (_, wait, destination, expected) => {
    const ada = await app.newUser()
    await ada.logIn({}, from(AT.vienna))
    await wait()
    await ada.logIn({}, from(destination))
    expect(await rulesOf(ada)).toEqual(expected)
  })
})

describe('SUCCESS_AFTER_FAILURES', () => {
  test('is raised by a sign-in after five failures, and mailed', async () => {
    const ada = await app.newUser()
    const address = newAddress()
    await guessOften(ada.email, address, 5)
    await ada.logIn({}, from(address))
    const [alarm] = await alarmsOf(ada)
    expect(alarm).toMatchObject({
      rule: 'SUCCESS_AFTER_FAILURES',
      event: { riskLevel: 'HIGH', ipAddress: address, metadata: { failures: 5 } },
    })
    expect(await subjectsTo(ada)).toEqual([SUBJECTS.suspiciousLogin, SUBJECTS.verification])
  })

  test.each([
    ['four failures', 4, '1m'],
    ['failures that are more than an hour ago', 5, '61m'],
  ] as const)('is not raised after %s', async (_, failures, wait) => {
    const ada = await app.newUser()
    const address = newAddress()
    await guessOften(ada.email, address, failures)
    clock.advance(wait)
    await ada.logIn({}, from(address))
    expect(await rulesOf(ada)).toEqual([])
  })

  test('is not raised by the owner at home, whatever strangers try elsewhere', async () => {
    const ada = await app.newUser()
    const home = newAddress()
    await ada.logIn({}, from(home))
    await guessOften(ada.email, newAddress(), 5)
    await ada.logIn({}, from(home))
    expect(await rulesOf(ada)).toEqual([])
  })
})

describe('STUFFING', () => {
  const identifiers = (count: number) => Array.from({ length: count }, (_, index) => `stuffed${index}@example.com`)

  test('is raised once by failures for ten accounts from one address', async () => {
    const address = newAddress()
    const ada = await app.newUser()
    for (const identifier of [ada.email, ...identifiers(12)]) await guess(identifier, address)
    const alarms = await alarmsIn(app, { ipAddress: address })
    expect(alarms).toHaveLength(1)
    expect(alarms[0]).toMatchObject({
      rule: 'STUFFING',
      event: { riskLevel: 'HIGH', userId: null, sessionId: null, metadata: { accounts: 10 } },
    })
  })

  test('is raised again in another window', async () => {
    const address = newAddress()
    for (const identifier of identifiers(10)) await guess(identifier, address)
    clock.advance('11m')
    for (const identifier of identifiers(10)) await guess(identifier.replace('stuffed', 'again'), address)
    expect(await rulesAt(address)).toEqual(['STUFFING', 'STUFFING'])
  })

  test.each([
    ['nine accounts', '198.18.7.1', async () => Promise.all(identifiers(9).map((each) => guess(each, '198.18.7.1')))],
    ['one that was mistyped ten times', '198.18.7.2', async () => guessOften('mistyped@example.com', '198.18.7.2', 10)],
    ['one account ten times', '198.18.7.3', async () => guessOften((await app.newUser()).email, '198.18.7.3', 10)],
  ])('is not raised by failures for %s', async (_, address, fail) => {
    await fail()
    expect(await rulesAt(address)).toEqual([])
  })

  test('counts the /64 of an IPv6 address as one', async () => {
    const hosts = addresses(10, '2001:db8:5:6::')
    for (const [index, identifier] of identifiers(10).entries()) await guess(`six.${identifier}`, hosts[index] ?? '')
    expect(await rulesAt('2001:db8:5:6::10')).toEqual(['STUFFING'])
  })
})

describe('MANY_ADDRESSES', () => {
  test('is raised once by attempts on one account from five addresses, and not mailed', async () => {
    const ada = await app.newUser()
    for (const address of addresses(5, '198.18.1.')) await guess(ada.email, address)
    await ada.logIn({}, from('198.18.1.9'))
    const alarms = (await alarmsOf(ada)).filter(({ rule }) => rule === 'MANY_ADDRESSES')
    expect(alarms).toHaveLength(1)
    // The sign-in of `newUser` is the first of the five.
    expect(alarms[0]?.event).toMatchObject({ riskLevel: 'HIGH', ipAddress: '198.18.1.4', metadata: { addresses: 5 } })
  })

  test('is not raised by four addresses, nor by all of an IPv6 /64', async () => {
    const ada = await app.newUser()
    for (const address of [...addresses(2, '198.18.2.'), ...addresses(3, '2001:db8:1:2::')])
      await guess(ada.email, address)
    expect(await rulesOf(ada)).toEqual([])
    expect(await subjectsTo(ada)).toEqual([SUBJECTS.verification])
  })
})

describe('LOGIN_AT_LOCKOUT', () => {
  test('is raised once for each lock, and not mailed', async () => {
    const ada = await app.newUser()
    const address = newAddress()
    await guessOften(ada.email, address, 6)
    expect(await rulesOf(ada)).toEqual([])
    await guessOften(ada.email, address, 3)
    expect(await alarmsOf(ada)).toMatchObject([
      { rule: 'LOGIN_AT_LOCKOUT', event: { riskLevel: 'MEDIUM', userId: ada.id } },
    ])
    clock.advance('29m')
    await guess(ada.email, address)
    clock.advance('1m')
    await guessOften(ada.email, address, 8)
    expect(await rulesOf(ada)).toEqual(['LOGIN_AT_LOCKOUT', 'LOGIN_AT_LOCKOUT'])
    expect(await subjectsTo(ada)).toEqual([SUBJECTS.locked, SUBJECTS.locked, SUBJECTS.verification])
  })
})

describe('RESET_BURST', () => {
  test('is raised once by five requests for one account', async () => {
    const ada = await app.newUser()
    for (const address of addresses(6, '198.18.3.')) await requestReset(ada.email, address)
    expect(await alarmsOf(ada)).toMatchObject([
      { rule: 'RESET_BURST', event: { riskLevel: 'MEDIUM', userId: ada.id, metadata: { requests: 5 } } },
    ])
  })

  test('is raised once by requests for five accounts from one address', async () => {
    const address = newAddress()
    const ada = await app.newUser()
    for (const email of [ada.email, ...addresses(5, 'nobody').map((name) => `${name}@example.com`)])
      await requestReset(email, address)
    expect(await alarmsIn(app, { ipAddress: address })).toMatchObject([
      { rule: 'RESET_BURST', event: { userId: null, metadata: { accounts: 5 } } },
    ])
  })

  test('is not raised by four', async () => {
    const ada = await app.newUser()
    const address = newAddress()
    for (const _ of addresses(4, '')) await requestReset(ada.email, address)
    expect(await rulesOf(ada)).toEqual([])
    expect(await rulesAt(address)).toEqual([])
  })
})

test('A sign-in from a new device has the mail about that, and no second one', async () => {
  const ada = await app.newUser()
  await ada.logIn({}, from(AT.vienna))
  await ada.logIn({}, { ...from(AT.sydney), 'user-agent': DEVICES.safariOnIphone })
  expect((await rulesOf(ada)).sort()).toEqual(['IMPOSSIBLE_TRAVEL', 'NEW_COUNTRY'])
  expect(await subjectsTo(ada)).toEqual([SUBJECTS.newDevice, SUBJECTS.verification])
})

test('Nothing is raised by what people do', async () => {
  const ada = await app.newUser()
  const home = await ada.logIn({}, from(AT.vienna))
  await (await home.refreshed()).refreshed()
  await guessOften(ada.email, AT.vienna, 2)
  await (await ada.logIn({}, from(AT.viennaToo))).call(LogoutDocument)
  await requestReset(ada.email, AT.vienna)
  const again = await ada.logIn({}, { ...from(AT.vienna), 'user-agent': DEVICES.safariOnIphone })
  await again.call(ChangePasswordDocument, { input: { currentPassword: ada.password, newPassword: NEXT_PASSWORD } })
  await ada.logIn({ password: NEXT_PASSWORD }, from(AT.vienna))
  expect(await rulesOf(ada)).toEqual([])
  expect(await rulesAt(AT.vienna)).toEqual([])
})

describe('DETECTION_RULES', () => {
  const tryAll = async (at: TestApp): Promise<User> => {
    const ada = await at.newUser()
    await ada.logIn({}, from(AT.vienna))
    at.clock.advance('50m')
    await ada.logIn({}, from(AT.sydney))
    for (const address of addresses(2, '198.18.4.')) await guess(ada.email, address, at)
    return ada
  }

  test('sets thresholds, and turns rules off', async () => {
    const strict = await startApp({ env: { ...env, DETECTION_RULES: 'NEW_COUNTRY=off; MANY_ADDRESSES=3/1h' } })
    expect(await rulesOf(await tryAll(strict), strict)).toEqual(['IMPOSSIBLE_TRAVEL', 'MANY_ADDRESSES'])
    const patient = await startApp({ env: { ...env, DETECTION_RULES: 'IMPOSSIBLE_TRAVEL=20000km/h;NEW_COUNTRY=1d' } })
    const ada = await tryAll(patient)
    await untilJudged(patient)
    patient.clock.advance('25h')
    await ada.logIn({}, from(AT.bratislava))
    expect(await rulesOf(ada, patient)).toEqual(['NEW_COUNTRY', 'MANY_ADDRESSES'])
  })

  test('as "off" turns all off; what happens then is history a day later, and what is new is judged', async () => {
    const blind = await startApp({ env: { ...env, DETECTION_RULES: 'off' } })
    const ada = await tryAll(blind)
    blind.clock.advance('25h')
    const seeing = await startApp({ env, beside: blind })
    await untilJudged(seeing)
    expect(await rulesOf(ada, blind)).toEqual([])
    await ada.logIn({}, from(AT.bratislava))
    expect(await rulesOf(ada, blind)).toEqual(['NEW_COUNTRY'])
  })

  test('knows no places without GEOIP_DATABASE', async () => {
    const nowhere = await startApp({ env: { ...env, GEOIP_DATABASE: '' } })
    const ada = await nowhere.newUser()
    await ada.logIn({}, from(AT.vienna))
    await ada.logIn({}, from(AT.sydney))
    expect(await rulesOf(ada, nowhere)).toEqual([])
  })
})

describe('every event is judged once', () => {
  test('by two processes that both want to', async () => {
    const one = await startApp({ env })
    const two = await startApp({ env, beside: one })
    const users = [await one.newUser(), await one.newUser(), await one.newUser()]
    for (const address of [AT.vienna, AT.sydney]) {
      await Promise.all(users.map((user) => user.logIn({}, from(address))))
    }
    await Promise.all(addresses(20, 'both').map((name, index) => guess(name, '198.18.5.5', index % 2 ? one : two)))
    for (const user of users) {
      expect((await rulesOf(user, one)).sort()).toEqual(['IMPOSSIBLE_TRAVEL', 'NEW_COUNTRY'])
      const mails = (await one.mailsTo(user.email)).filter(({ subject }) => subject === SUBJECTS.suspiciousLogin)
      expect(mails).toHaveLength(1)
    }
    expect(await rulesAt('198.18.5.5', one)).toEqual(['STUFFING'])
  })

  test(
    'although the process that was at it is killed',
    async () => {
      const installation = await createInstallation()
      const { databaseUrl } = installation
      const server = startProcess(processEnv({ ...env, DATABASE_URL: databaseUrl }))
      const url = await server.ready
      const blind = await startApp({ beside: { installation }, env: { ...env, DETECTION_RULES: 'off' } })
      const ada = await blind.newUser()
      await ada.logIn({}, from(AT.vienna))
      // It has asked for the first finding, and cannot write it down.
      const lock = await lockDatabase(installation, 'LOCK TABLE audit_detections IN EXCLUSIVE MODE')
      await ada.logIn({}, from(AT.sydney))
      await lock.untilWaiting(1)
      expect((await fetch(`${url}/health/live`)).status).toBe(200)
      server.kill('SIGKILL')
      await server.exited
      await lock.release()
      expect(await blind.eventsOf(ada, { types: ['SUSPICIOUS_LOGIN'] })).toEqual([])

      const next = await startApp({ beside: { installation }, env })
      await untilJudged(next)
      expect((await rulesOf(ada, blind)).sort()).toEqual(['IMPOSSIBLE_TRAVEL', 'NEW_COUNTRY'])
      const subjects = (await next.mailsTo(ada.email)).map(({ subject }) => subject)
      expect(subjects.filter((subject) => subject === SUBJECTS.suspiciousLogin)).toHaveLength(1)
    },
    START_MS + 60_000,
  )
})

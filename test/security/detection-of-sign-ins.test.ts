import { describe, expect, test } from 'vitest'
import { startApp } from '../support/app.js'
import { expectType } from '../support/client.js'
import { untilJudged } from '../support/detection.js'
import { DEVICES } from '../support/devices.js'
import { LoginDocument } from '../support/generated/graphql.js'
import { AT } from '../support/geoip.js'
import { SUBJECTS } from '../support/mailbox.js'
import { alarmsOf, from, guessOften, newAddress, rulesOf, subjectsTo, watchful } from '../support/suspicion.js'

const env = watchful()
const app = await startApp({ env })
const { clock } = app

describe('NEW_COUNTRY', () => {
  test('is raised by a sign-in from a country that the account was not used from, once, and mailed', async () => {
    const ada = await app.newUser()
    await ada.logIn({}, from(AT.vienna))
    await ada.logIn({}, from(AT.viennaToo))
    const abroad = await ada.logIn({}, from(AT.bratislava))
    await ada.logIn({}, from(AT.bratislava))

    const [{ event }, ...others] = (await alarmsOf(app, ada)) as [Awaited<ReturnType<typeof alarmsOf>>[0]]
    expect(others).toEqual([])
    const [login] = await app.eventsOf(ada, { types: ['LOGIN_SUCCEEDED'], sessionId: abroad.sessionId })
    const { userId, sessionId, ipAddress, userAgent, city, country, correlationId } = login ?? expect.fail('No login')
    expect(event).toMatchObject({ userId, sessionId, ipAddress, userAgent, city, country, correlationId })
    expect(event).toMatchObject({
      ...{ type: 'SUSPICIOUS_LOGIN', success: false, riskLevel: 'MEDIUM', city: 'Bratislava', country: 'SK' },
      description: 'Somebody signed in from a country that the account was not used from before.',
      metadata: { rule: 'NEW_COUNTRY', eventId: login?.id, country: 'SK' },
    })
    expect(await subjectsTo(app, ada)).toEqual([SUBJECTS.suspiciousLogin, SUBJECTS.verification])
    const { text } = await app.mail(ada.email, SUBJECTS.suspiciousLogin)
    for (const fact of ['Bratislava, SK', AT.bratislava, 'Firefox on Linux', 'This was not me:', 'from a country'])
      expect(text).toContain(fact)
  })

  test('needs to know a country before: the first one is none', async () => {
    const ada = await app.newUser()
    await ada.logIn({}, from(AT.sydney))
    expect(await rulesOf(app, ada)).toEqual([])
  })

  test('is not raised from where no country is known', async () => {
    const ada = await app.newUser()
    for (const address of [AT.vienna, newAddress(), AT.vienna]) await ada.logIn({}, from(address))
    expect(await rulesOf(app, ada)).toEqual([])
    expect(app.log.problems).toEqual([])
  })
})

describe('IMPOSSIBLE_TRAVEL', () => {
  test('is raised by a sign-in from too far away from the one before', async () => {
    const ada = await app.newUser()
    await ada.logIn({}, from(AT.vienna))
    clock.advance('1h')
    await ada.logIn({}, from(AT.sydney))
    const alarms = await alarmsOf(app, ada)
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
    expect(await subjectsTo(app, ada)).toEqual([SUBJECTS.suspiciousLogin, SUBJECTS.verification])
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
    expect(await rulesOf(app, ada)).toEqual(expected)
  })
})

describe('SUCCESS_AFTER_FAILURES', () => {
  test('is raised by a sign-in after five failures, and mailed', async () => {
    const ada = await app.newUser()
    const address = newAddress()
    await guessOften(app, ada.email, address, 5)
    await ada.logIn({}, from(address))
    const [alarm] = await alarmsOf(app, ada)
    expect(alarm).toMatchObject({
      rule: 'SUCCESS_AFTER_FAILURES',
      event: { riskLevel: 'HIGH', ipAddress: address, metadata: { failures: 5 } },
    })
    expect(await subjectsTo(app, ada)).toEqual([SUBJECTS.suspiciousLogin, SUBJECTS.verification])
  })

  test.each([
    ['four failures', 4, '1m'],
    ['failures that are more than an hour ago', 5, '61m'],
  ] as const)('is not raised after %s', async (_, failures, wait) => {
    const ada = await app.newUser()
    const address = newAddress()
    await guessOften(app, ada.email, address, failures)
    clock.advance(wait)
    await ada.logIn({}, from(address))
    expect(await rulesOf(app, ada)).toEqual([])
  })

  test('is raised by whoever signs in from where the account was never used, wherever the failures came from', async () => {
    const ada = await app.newUser()
    await guessOften(app, ada.email, newAddress(), 5)
    await ada.logIn({}, from(newAddress()))
    expect(await rulesOf(app, ada)).toEqual(['SUCCESS_AFTER_FAILURES'])
  })

  test('is raised at home as well, by failures there', async () => {
    const ada = await app.newUser()
    const home = newAddress()
    await ada.logIn({}, from(home))
    await guessOften(app, ada.email, home, 5)
    await ada.logIn({}, from(home))
    expect(await rulesOf(app, ada)).toEqual(['SUCCESS_AFTER_FAILURES'])
  })

  test('is not raised after the right password of somebody who had not verified her address', async () => {
    const account = await app.register()
    const input = { identifier: account.email, password: account.password }
    for (let time = 1; time <= 5; time += 1)
      expectType(await app.anonymous.call(LoginDocument, { input }), 'EmailNotVerifiedError')
    expect(await rulesOf(app, await app.verify(account))).toEqual([])
  })

  test('is not raised by the owner at home, whatever strangers try elsewhere', async () => {
    const ada = await app.newUser()
    const home = newAddress()
    await ada.logIn({}, from(home))
    await guessOften(app, ada.email, newAddress(), 5)
    await ada.logIn({}, from(home))
    expect(await rulesOf(app, ada)).toEqual([])
  })
})
test('A sign-in from a new device has the mail about that, and no second one', async () => {
  const ada = await app.newUser()
  await ada.logIn({}, from(AT.vienna))
  await ada.logIn({}, { ...from(AT.sydney), 'user-agent': DEVICES.safariOnIphone })
  expect((await rulesOf(app, ada)).sort()).toEqual(['IMPOSSIBLE_TRAVEL', 'NEW_COUNTRY'])
  expect(await subjectsTo(app, ada)).toEqual([SUBJECTS.newDevice, SUBJECTS.verification])
})

import { describe, expect, test } from 'vitest'
import { NEXT_PASSWORD, startApp } from '../support/app.js'
import { alarmsIn, untilJudged } from '../support/detection.js'
import { DEVICES } from '../support/devices.js'
import { ChangePasswordDocument, LogoutDocument } from '../support/generated/graphql.js'
import { AT } from '../support/geoip.js'
import { SUBJECTS } from '../support/mailbox.js'
import {
  addresses,
  alarmsOf,
  from,
  guess,
  guessOften,
  newAddress,
  requestReset,
  rulesAt,
  rulesOf,
  subjectsTo,
  watchful,
} from '../support/suspicion.js'

const env = watchful()
const app = await startApp({ env })
const { clock } = app

describe('STUFFING', () => {
  const identifiers = (count: number) => Array.from({ length: count }, (_, index) => `stuffed${index}@example.com`)

  test('is raised once by failures for ten accounts from one address', async () => {
    const address = newAddress()
    const ada = await app.newUser()
    for (const identifier of [ada.email, ...identifiers(12)]) await guess(app, identifier, address)
    const alarms = await alarmsIn(app, { ipAddress: address })
    expect(alarms).toHaveLength(1)
    expect(alarms[0]).toMatchObject({
      rule: 'STUFFING',
      event: { riskLevel: 'HIGH', userId: null, sessionId: null, metadata: { accounts: 10 } },
    })
  })

  test('is raised again in another window', async () => {
    const address = newAddress()
    for (const identifier of identifiers(10)) await guess(app, identifier, address)
    clock.advance('11m')
    for (const identifier of identifiers(10)) await guess(app, identifier.replace('stuffed', 'again'), address)
    expect(await rulesAt(app, address)).toEqual(['STUFFING', 'STUFFING'])
  })

  test.each([
    [
      'nine accounts in ten minutes, and nine in the next ten',
      '198.18.7.1',
      async () => {
        await Promise.all(identifiers(9).map((each) => guess(app, each, '198.18.7.1')))
        clock.advance('11m')
        await Promise.all(identifiers(9).map((each) => guess(app, each, '198.18.7.1')))
      },
    ],
    [
      'one that was mistyped ten times',
      '198.18.7.2',
      async () => guessOften(app, 'mistyped@example.com', '198.18.7.2', 10),
    ],
    ['one account ten times', '198.18.7.3', async () => guessOften(app, (await app.newUser()).email, '198.18.7.3', 10)],
  ])('is not raised by failures for %s', async (_, address, fail) => {
    await fail()
    expect(await rulesAt(app, address)).toEqual([])
  })

  test('counts the /64 of an IPv6 address as one', async () => {
    const hosts = addresses(10, '2001:db8:5:6::')
    for (const [index, identifier] of identifiers(10).entries())
      await guess(app, `six.${identifier}`, hosts[index] ?? '')
    expect(await rulesAt(app, '2001:db8:5:6::10')).toEqual(['STUFFING'])
  })
})

describe('MANY_ADDRESSES', () => {
  test('is raised once by attempts on one account from five addresses, and not mailed', async () => {
    const ada = await app.newUser()
    for (const address of addresses(5, '198.18.1.')) await guess(app, ada.email, address)
    await ada.logIn({}, from('198.18.1.9'))
    const alarms = (await alarmsOf(app, ada)).filter(({ rule }) => rule === 'MANY_ADDRESSES')
    expect(alarms).toHaveLength(1)
    // The sign-in of `newUser` is the first of the five.
    expect(alarms[0]?.event).toMatchObject({ riskLevel: 'HIGH', ipAddress: '198.18.1.4', metadata: { addresses: 5 } })
  })

  test('is not raised by four addresses, nor by all of an IPv6 /64', async () => {
    const ada = await app.newUser()
    for (const address of [...addresses(2, '198.18.2.'), ...addresses(3, '2001:db8:1:2::')])
      await guess(app, ada.email, address)
    expect(await rulesOf(app, ada)).toEqual([])
    expect(await subjectsTo(app, ada)).toEqual([SUBJECTS.verification])
  })
})

describe('LOGIN_AT_LOCKOUT', () => {
  test('is raised once for each lock, and not mailed', async () => {
    const ada = await app.newUser()
    const address = newAddress()
    await guessOften(app, ada.email, address, 6)
    expect(await rulesOf(app, ada)).toEqual([])
    await guessOften(app, ada.email, address, 3)
    expect(await alarmsOf(app, ada)).toMatchObject([
      { rule: 'LOGIN_AT_LOCKOUT', event: { riskLevel: 'MEDIUM', userId: ada.id } },
    ])
    clock.advance('29m')
    await guess(app, ada.email, address)
    clock.advance('1m')
    await guessOften(app, ada.email, address, 8)
    expect(await rulesOf(app, ada)).toEqual(['LOGIN_AT_LOCKOUT', 'LOGIN_AT_LOCKOUT'])
    expect(await subjectsTo(app, ada)).toEqual([SUBJECTS.locked, SUBJECTS.locked, SUBJECTS.verification])
  })
})

describe('RESET_BURST', () => {
  test('is raised once by five requests for one account', async () => {
    const ada = await app.newUser()
    for (const address of addresses(6, '198.18.3.')) await requestReset(app, ada.email, address)
    expect(await alarmsOf(app, ada)).toMatchObject([
      { rule: 'RESET_BURST', event: { riskLevel: 'MEDIUM', userId: ada.id, metadata: { requests: 5 } } },
    ])
  })

  test('is raised once by requests for five accounts from one address', async () => {
    const address = newAddress()
    const ada = await app.newUser()
    for (const email of [ada.email, ...addresses(5, 'nobody').map((name) => `${name}@example.com`)])
      await requestReset(app, email, address)
    expect(await alarmsIn(app, { ipAddress: address })).toMatchObject([
      { rule: 'RESET_BURST', event: { userId: null, metadata: { accounts: 5 } } },
    ])
  })

  test('is not raised by four in an hour, and four in the next', async () => {
    const ada = await app.newUser()
    const [address, another] = [newAddress(), newAddress()]
    for (const _ of ['in an hour', 'and the next']) {
      for (const name of addresses(4, 'nobody')) {
        await requestReset(app, ada.email, address)
        await requestReset(app, `${name}@example.com`, another)
      }
      await untilJudged(app)
      clock.advance('61m')
    }
    expect(await rulesOf(app, ada)).toEqual([])
    for (const each of [address, another]) expect(await rulesAt(app, each)).toEqual([])
  })
})
test('Nothing is raised by what people do', async () => {
  const ada = await app.newUser()
  const home = await ada.logIn({}, from(AT.vienna))
  await (await home.refreshed()).refreshed()
  await guessOften(app, ada.email, AT.vienna, 2)
  await (await ada.logIn({}, from(AT.viennaToo))).call(LogoutDocument)
  await requestReset(app, ada.email, AT.vienna)
  const again = await ada.logIn({}, { ...from(AT.vienna), 'user-agent': DEVICES.safariOnIphone })
  await again.call(ChangePasswordDocument, { input: { currentPassword: ada.password, newPassword: NEXT_PASSWORD } })
  await ada.logIn({ password: NEXT_PASSWORD }, from(AT.vienna))
  expect(await rulesOf(app, ada)).toEqual([])
  expect(await rulesAt(app, AT.vienna)).toEqual([])
})

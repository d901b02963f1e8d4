import { describe, expect, test } from 'vitest'
import { startApp } from '../support/app.js'
import { DEVICES } from '../support/devices.js'
import { SUBJECTS } from '../support/mailbox.js'

const app = await startApp()

const on = (device: keyof typeof DEVICES, address = '203.0.113.7') => ({
  'user-agent': DEVICES[device],
  'x-forwarded-for': address,
})
const subjectsTo = async (email: string) => (await app.mailsTo(email)).map(({ subject }) => subject)

describe('a session', () => {
  test.each([
    ['firefoxOnLinux', { deviceName: 'Firefox on Linux', deviceType: 'DESKTOP', browser: 'Firefox', os: 'Linux' }],
    ['chromeOnWindows', { deviceName: 'Chrome on Windows', deviceType: 'DESKTOP', browser: 'Chrome', os: 'Windows' }],
    ['safariOnIphone', { deviceName: 'Safari on iOS', deviceType: 'MOBILE', browser: 'Safari', os: 'iOS' }],
    ['safariOnIpad', { deviceName: 'Safari on iOS', deviceType: 'TABLET', browser: 'Safari', os: 'iOS' }],
    ['googlebot', { deviceType: 'BOT' }],
  ] as const)('is named after its device: %s', async (device, expected) => {
    const ada = await app.newUser()
    const { authentication } = await ada.logIn({}, on(device))
    expect(authentication.session).toMatchObject({
      ...expected,
      userAgent: DEVICES[device],
      ipAddress: '203.0.113.7',
      city: null,
      country: null,
    })
  })

  test('has the name that the client gives', async () => {
    const ada = await app.newUser()
    const { authentication } = await ada.logIn({ deviceName: 'Kitchen tablet' }, on('safariOnIpad'))
    expect(authentication.session).toMatchObject({ deviceName: 'Kitchen tablet', browser: 'Safari' })
  })

  test('of a client that says nothing of itself is an unknown device', async () => {
    const ada = await app.newUser()
    const { authentication } = await ada.logIn({}, { 'user-agent': '' })
    expect(authentication.session).toMatchObject({
      ...{ deviceName: 'Unknown device', deviceType: 'UNKNOWN', browser: null, os: null, userAgent: null },
    })
  })

  test('keeps the start of a user agent that goes on and on', async () => {
    const ada = await app.newUser()
    const { authentication } = await ada.logIn({}, { 'user-agent': `${DEVICES.firefoxOnLinux} ${'x'.repeat(4000)}` })
    expect(authentication.session).toMatchObject({ deviceName: 'Firefox on Linux' })
    expect(authentication.session.userAgent).toHaveLength(512)
  })
})

describe('signing in from a device that was not seen before', () => {
  test('is told to the owner, by mail and in the log', async () => {
    const ada = await app.newUser()
    await ada.logIn({ deviceName: 'Not what the mail says' }, on('safariOnIphone', '198.51.100.20'))
    const [event] = await app.eventsOf(ada, { types: ['NEW_DEVICE'] })
    expect(event).toMatchObject({ success: true, riskLevel: 'MEDIUM', ipAddress: '198.51.100.20' })
    const mail = await app.mail(ada.email, SUBJECTS.newDevice)
    expect(mail.text).toContain('Safari on iOS')
    expect(mail.text).toContain('198.51.100.20')
  })

  test('is told also when the account was not used for so long that nothing is left of its sessions', async () => {
    const ada = await app.newUser()
    app.clock.advance('60d')
    await app.operator.purge()
    await ada.logIn({}, on('chromeOnWindows'))
    expect(await subjectsTo(ada.email)).toEqual([SUBJECTS.newDevice])
  })

  test.each([
    ['the first device of an account', async () => app.newUser()],
    [
      'the same device at another address',
      async () => {
        const ada = await app.newUser()
        return ada.logIn({}, on('firefoxOnLinux', '198.51.100.21'))
      },
    ],
    [
      'the same device after an update of its browser',
      async () => {
        const ada = await app.newUser()
        return ada.logIn({}, on('newerFirefoxOnLinux'))
      },
    ],
  ])('%s is no such device', async (_, signIn) => {
    const ada = await signIn()
    expect(await app.eventsOf(ada, { types: ['NEW_DEVICE'] })).toEqual([])
    expect(await subjectsTo(ada.email)).toEqual([SUBJECTS.verification])
  })

  test('is told once: then the device is known', async () => {
    const ada = await app.newUser()
    await ada.logIn({}, on('chromeOnWindows'))
    await ada.logIn({}, on('chromeOnWindows'))
    expect(await subjectsTo(ada.email)).toEqual([SUBJECTS.newDevice, SUBJECTS.verification])
  })
})

describe('the address of a client', () => {
  test('is that of the connection, where no proxy is trusted', async () => {
    const direct = await startApp({ env: { TRUSTED_PROXIES: '' } })
    const ada = await direct.newUser()
    const { authentication } = await ada.logIn({}, on('firefoxOnLinux'))
    expect(authentication.session.ipAddress).toBe('127.0.0.1')
  })

  test.each([
    [
      'the one that the trusted proxy saw, not what the client claims before it',
      '192.0.2.1, 203.0.113.40',
      '203.0.113.40',
    ],
    ['that of the proxy, where it passes on what is no address', 'unknown', '127.0.0.1'],
    ['one of IPv6', '2001:db8::7', '2001:db8::7'],
  ])('is %s', async (_, forwarded, expected) => {
    const ada = await app.newUser()
    const { authentication } = await ada.logIn({}, on('firefoxOnLinux', forwarded))
    expect(authentication.session.ipAddress).toBe(expected)
  })
})

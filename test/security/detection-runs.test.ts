import pg from 'pg'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { startApp, type TestApp } from '../support/app.js'
import { openDatabase } from '../support/database.js'
import { lockDatabase } from '../support/database-lock.js'
import { untilJudged } from '../support/detection.js'
import { eventually } from '../support/eventually.js'
import { RequestPasswordResetDocument } from '../support/generated/graphql.js'
import { AT } from '../support/geoip.js'
import { createInstallation } from '../support/installation.js'
import { SUBJECTS } from '../support/mailbox.js'
import { processEnv, START_MS, startProcess } from '../support/server-process.js'
import { addresses, from, guess, guessOften, rulesAt, rulesOf, watchful } from '../support/suspicion.js'
import type { User } from '../support/user.js'

const env = watchful()
describe('DETECTION_RULES', () => {
  const tryAll = async (at: TestApp): Promise<User> => {
    const ada = await at.newUser()
    await ada.logIn({}, from(AT.vienna))
    at.clock.advance('50m')
    await ada.logIn({}, from(AT.sydney))
    for (const address of addresses(2, '198.18.4.')) await guess(at, ada.email, address)
    return ada
  }

  test('sets thresholds, and turns rules off', async () => {
    const strict = await startApp({ env: { ...env, DETECTION_RULES: 'NEW_COUNTRY=off; MANY_ADDRESSES=3/1h' } })
    expect(await rulesOf(strict, await tryAll(strict))).toEqual(['IMPOSSIBLE_TRAVEL', 'MANY_ADDRESSES'])
    const patient = await startApp({
      env: { ...env, DETECTION_RULES: 'IMPOSSIBLE_TRAVEL=20000km/h;NEW_COUNTRY=1d' },
    })
    const ada = await tryAll(patient)
    await untilJudged(patient)
    patient.clock.advance('25h')
    await ada.logIn({}, from(AT.bratislava))
    expect(await rulesOf(patient, ada)).toEqual(['NEW_COUNTRY', 'MANY_ADDRESSES'])
  })

  test('as "off" turns all off; what happens then is history a day later, and what is new is judged', async () => {
    const blind = await startApp({ env: { ...env, DETECTION_RULES: 'off' } })
    const ada = await tryAll(blind)
    blind.clock.advance('25h')
    const seeing = await startApp({ env, beside: blind })
    await untilJudged(seeing)
    expect(await rulesOf(blind, ada)).toEqual([])
    await ada.logIn({}, from(AT.bratislava))
    expect(await rulesOf(blind, ada)).toEqual(['NEW_COUNTRY'])
  })

  test('has attempts at a lock counted for that lock and within their time, and told once for as long as it holds', async () => {
    const DETECTION_RULES = 'LOGIN_AT_LOCKOUT=3/30m'
    const app = await startApp({ env: { ...env, DETECTION_RULES, LOCKOUT_DURATION: '2h' } })
    const ada = await app.newUser()
    const raisedAfter = async (guesses: number) => {
      await guessOften(app, ada.email, '198.18.6.1', guesses)
      return (await rulesOf(app, ada)).length
    }
    expect(await raisedAfter(6 + 2)).toBe(0)
    app.clock.advance('31m')
    expect([await raisedAfter(2), await raisedAfter(1)]).toEqual([0, 1])
    app.clock.advance('70m')
    expect(await raisedAfter(3)).toBe(1)
    app.clock.advance('20m')
    expect([await raisedAfter(6 + 2), await raisedAfter(1)]).toEqual([1, 2])
  })

  test('knows no places without GEOIP_DATABASE', async () => {
    const nowhere = await startApp({ env: { ...env, GEOIP_DATABASE: '' } })
    const ada = await nowhere.newUser()
    await ada.logIn({}, from(AT.vienna))
    await ada.logIn({}, from(AT.sydney))
    expect(await rulesOf(nowhere, ada)).toEqual([])
  })
})

test('A rule that always fails keeps the others from nothing', async () => {
  const app = await startApp({ env: { ...env, DETECTION_RULES: 'MANY_ADDRESSES=3/1h' } })
  const { query } = pg.Client.prototype
  const failing = vi.spyOn(pg.Client.prototype, 'query').mockImplementation(function (
    this: pg.Client,
    ...args: unknown[]
  ) {
    const [first] = args as [string | { text: string }]
    const isBroken = (typeof first === 'string' ? first : first.text).includes('asked.requests >=')
    return isBroken ? Promise.reject(new Error('broken')) : Reflect.apply(query, this, args)
  } as typeof query)
  onTestFinished(() => failing.mockRestore())
  const ada = await app.newUser()
  for (let time = 1; time <= 3; time += 1) {
    await app.anonymous.call(RequestPasswordResetDocument, { input: { email: ada.email } })
    for (const address of addresses(3, `198.18.${time}.`)) await guess(app, ada.email, address)
  }
  await eventually(() => rulesOf(app, ada)).toContain('MANY_ADDRESSES')
  failing.mockRestore()
  await eventually(() => app.log.problems.map(({ fields }) => fields)).toContainEqual({ rule: 'RESET_BURST' })
  app.log.hush(/A rule of detection has failed/)
})

test('A rule whose connections to the database are lost is not passed by', async () => {
  const app = await startApp({ env })
  const { query } = pg.Client.prototype
  let lost = 0
  const losing = vi.spyOn(pg.Client.prototype, 'query').mockImplementation(function (
    this: pg.Client,
    ...args: unknown[]
  ) {
    const [first] = args as [string | { text: string }]
    const isRule = (typeof first === 'string' ? first : first.text).includes('asked.requests >=')
    if (!isRule || lost === 3) return Reflect.apply(query, this, args)
    lost += 1
    return Promise.reject(new Error('Connection terminated unexpectedly'))
  } as typeof query)
  onTestFinished(() => losing.mockRestore())
  const ada = await app.newUser()
  for (let time = 1; time <= 6; time += 1)
    await app.anonymous.call(RequestPasswordResetDocument, { input: { email: ada.email } })
  await eventually(() => rulesOf(app, ada), 60_000).toContain('RESET_BURST')
  expect(lost).toBe(3)
})

describe('every event is judged once', () => {
  test('and what was raised is forgotten when it may be raised again, a day later', async () => {
    const app = await startApp({ env })
    const { query } = await openDatabase(app.installation)
    const stuffing = async () => {
      for (const name of addresses(10, 'stuffed')) await guess(app, name, '198.18.8.1')
      return rulesAt(app, '198.18.8.1')
    }
    expect(await stuffing()).toEqual(['STUFFING'])
    app.clock.advance('25h')
    for (const name of addresses(10, 'others')) await guess(app, name, '198.18.8.2')
    expect(await rulesAt(app, '198.18.8.2')).toEqual(['STUFFING'])
    expect((await query('SELECT subject FROM audit_detections')).rows).toEqual([{ subject: '198.18.8.2' }])
  })

  test('by two processes that both want to', async () => {
    const one = await startApp({ env })
    const two = await startApp({ env, beside: one })
    const users = [await one.newUser(), await one.newUser(), await one.newUser()]
    for (const address of [AT.vienna, AT.sydney]) {
      await Promise.all(users.map((user) => user.logIn({}, from(address))))
    }
    await Promise.all(addresses(20, 'both').map((name, index) => guess(index % 2 ? one : two, name, '198.18.5.5')))
    for (const user of users) {
      expect((await rulesOf(one, user)).sort()).toEqual(['IMPOSSIBLE_TRAVEL', 'NEW_COUNTRY'])
      const mails = (await one.mailsTo(user.email)).filter(({ subject }) => subject === SUBJECTS.suspiciousLogin)
      expect(mails).toHaveLength(1)
    }
    expect(await rulesAt(one, '198.18.5.5')).toEqual(['STUFFING'])
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
      expect((await rulesOf(blind, ada)).sort()).toEqual(['IMPOSSIBLE_TRAVEL', 'NEW_COUNTRY'])
      const subjects = (await next.mailsTo(ada.email)).map(({ subject }) => subject)
      expect(subjects.filter((subject) => subject === SUBJECTS.suspiciousLogin)).toHaveLength(1)
    },
    START_MS + 60_000,
  )
})

import { expect, onTestFinished, test, vi } from 'vitest'
import { PASSWORD, startApp } from '../support/app.js'
import { createClient, expectType } from '../support/client.js'
import { openDatabase } from '../support/database.js'
import { eventually } from '../support/eventually.js'
import { RegisterDocument } from '../support/generated/graphql.js'
import { createInstallation } from '../support/installation.js'
import { processEnv, START_MS, startProcess } from '../support/server-process.js'
import { startSmtp } from '../support/smtp.js'

vi.setConfig({ testTimeout: 2 * START_MS })

/** Twelve times again, as docs/operations.md says. */
const TRIES = 13
const MAILS = `
  SELECT name, state, data->>'sealed' AS sealed FROM jobs.job
  WHERE name IN ('send-email', 'send-email.dead') ORDER BY name`
const TRY_NOW = `UPDATE jobs.job SET start_after = now() WHERE state = 'retry'`
const FOREIGN = 'under a SECRET_KEY that is not configured'
/** With keys of its own, so that a server starts with any SECRET_KEY. */
const OWN_KEYS = { JWT_ALGORITHM: 'HS256', JWT_SIGNING_KEY: 'a-key-for-tokens-that-stays-as-it-is-all-along' }
const SECRET_KEY = 'another-key-than-the-one-that-the-job-was-written-under'

test('A mail that is always refused is not lost: after its last try it is in the queue send-email.dead', async () => {
  const smtp = await startSmtp({ refusals: Number.POSITIVE_INFINITY })
  const app = await startApp({ env: { SMTP_URL: smtp.url } })
  const { query } = await openDatabase(app.installation)
  await app.register()
  await eventually(() => smtp.refused()).toBe(1)
  const [{ sealed }] = (await query(MAILS)).rows
  await eventually(async () => {
    await query(TRY_NOW)
    app.operator.wake('send-email')
    return (await query(MAILS)).rows
  }, 60_000).toMatchObject([
    { name: 'send-email', state: 'failed', sealed },
    { name: 'send-email.dead', state: 'created', sealed },
  ])
  expect(smtp.refused()).toBe(TRIES)
  // Each try is told of, without the address, and the last as what it is.
  const tries = app.log.lines
    .map((line) => JSON.parse(line))
    .filter(({ msg }) => /^A job of send-email failed/.test(msg))
  expect(tries.map((line) => line.tries)).toEqual(Array.from({ length: TRIES }, (_, index) => index + 1))
  expect(app.log.problems.splice(0)).toMatchObject([
    { message: 'A job of send-email failed for the last time. It is kept in the queue send-email.dead' },
  ])
})

test('A mail that was written under a SECRET_KEY that is gone is told of, not just tried in silence', async () => {
  const smtp = await startSmtp({ refusals: Number.POSITIVE_INFINITY })
  const env = { ...OWN_KEYS, SMTP_URL: smtp.url }
  const app = await startApp({ env })
  await app.register()
  await eventually(() => smtp.refused()).toBe(1)
  const after = await startApp({ env: { ...env, SECRET_KEY }, beside: app })
  const { query } = await openDatabase(app.installation)
  await eventually(async () => {
    await query(TRY_NOW)
    after.operator.wake('send-email')
    return after.log.lines.join('')
  }, 30_000).toContain(FOREIGN)
  app.log.problems.length = 0
})

test('Nor is a breach check lost that was asked for under such a key', async () => {
  const app = await startApp({ env: { ...OWN_KEYS, BREACH_CHECK_URL: 'http://127.0.0.1:1/' } })
  await app.register()
  const after = await startApp({ env: { ...OWN_KEYS, SECRET_KEY }, beside: app })
  const { query } = await openDatabase(app.installation)
  await eventually(async () => {
    await query(TRY_NOW)
    after.operator.wake('breach-check')
    return after.log.lines.find((line) => line.includes('breach-check'))
  }, 30_000).toContain(FOREIGN)
  expect((await query(`SELECT FROM jobs.job WHERE name = 'breach-check' AND state < 'completed'`)).rowCount).toBe(1)
})

test('Only mails are kept after their last try: no digest of a password is', async () => {
  const app = await startApp()
  const { query } = await openDatabase(app.installation)
  const { rows } = await query(`SELECT name, dead_letter FROM jobs.queue WHERE dead_letter IS NOT NULL ORDER BY name`)
  expect(rows.map(({ name }) => name)).toEqual(['mail-request', 'send-email'])
})

test('A mail that is being delivered when SIGTERM comes is delivered, once', async () => {
  const smtp = await startSmtp({ tardinessMs: 3000 })
  const installation = await createInstallation()
  onTestFinished(installation.remove)
  const { query } = await openDatabase(installation)
  const settings = { SMTP_URL: smtp.url, DATABASE_URL: installation.databaseUrl }
  const server = startProcess(processEnv(settings))
  const url = await server.ready
  const client = createClient((init) => fetch(`${url}/graphql`, init))
  const input = { email: 'ada@example.com', password: PASSWORD, termsAccepted: true, privacyPolicyAccepted: true }
  expectType(await client.call(RegisterDocument, { input }), 'RegisterSuccess')
  await eventually(() => smtp.offered()).toBe(1)
  server.kill('SIGTERM')
  expect(await server.exited).toBe(0)
  expect(smtp.delivered).toHaveLength(1)
  expect((await query(MAILS)).rows).toMatchObject([{ name: 'send-email', state: 'completed' }])
  expect(server.output()).not.toMatch(/"level":"(error|fatal)"/)
})

import { expect, onTestFinished, test, vi } from 'vitest'
import { PASSWORD, startApp, type TestApp } from '../support/app.js'
import { createClient, expectType } from '../support/client.js'
import { openDatabase } from '../support/database.js'
import { lockDatabase } from '../support/database-lock.js'
import { eventually } from '../support/eventually.js'
import { LoginDocument, RegisterDocument, RequestPasswordResetDocument } from '../support/generated/graphql.js'
import { createInstallation } from '../support/installation.js'
import { SUBJECTS } from '../support/mailbox.js'
import { processEnv, START_MS, startProcess } from '../support/server-process.js'
import { startSmtp } from '../support/smtp.js'

vi.setConfig({ testTimeout: 2 * START_MS })

/** Twelve times again, as docs/operations.md says. */
const TRIES = 13
const MAILS = `
  SELECT name, state, data->>'sealed' AS sealed FROM jobs.job
  WHERE name IN ('send-email', 'send-email.dead') ORDER BY name`
/** To whoever is the first to end a job of the queue, it is one that has ended. */
const doneByAnother = (queue: string) => `
  CREATE SEQUENCE ends;
  CREATE FUNCTION end_later() RETURNS trigger LANGUAGE plpgsql
  AS $$ BEGIN IF nextval('ends') = 1 THEN RETURN NULL; END IF; RETURN NEW; END $$;
  CREATE TRIGGER end_later BEFORE UPDATE ON jobs.job FOR EACH ROW
  WHEN (NEW.name = '${queue}' AND NEW.state = 'completed') EXECUTE FUNCTION end_later()`
const ENDS = 'SELECT last_value::int AS ends FROM ends'
const TRY_NOW = `UPDATE jobs.job SET start_after = now() WHERE state = 'retry'`
const FOREIGN = 'under a SECRET_KEY that is not configured'
/** With keys of its own, so that a server starts with any SECRET_KEY. */
const OWN_KEYS = { JWT_ALGORITHM: 'HS256', JWT_SIGNING_KEY: 'a-key-for-tokens-that-stays-as-it-is-all-along' }
const SECRET_KEY = 'another-key-than-the-one-that-the-job-was-written-under'

const subjectsOf = async (app: TestApp, email: string) => (await app.mailsTo(email)).map(({ subject }) => subject)

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

test('A mail that was refused has its place behind those that nobody has tried yet', async () => {
  const smtp = await startSmtp({ refusals: Number.POSITIVE_INFINITY })
  const app = await startApp({ env: { SMTP_URL: smtp.url } })
  const { query } = await openDatabase(app.installation)
  await app.register()
  const places = `SELECT state, priority FROM jobs.job WHERE name = 'send-email'`
  await eventually(async () => (await query(places)).rows).toEqual([{ state: 'retry', priority: -1 }])
})

test('A breach check is tried again twenty times, a request for a mail twelve, and no signature of the log', async () => {
  const { query } = await openDatabase((await startApp()).installation)
  const limits = `SELECT name, retry_limit AS tries FROM jobs.queue WHERE name = ANY ($1) ORDER BY name`
  expect((await query(limits, [['breach-check', 'mail-request', 'sign-audit-log']])).rows).toEqual([
    { name: 'breach-check', tries: 20 },
    { name: 'mail-request', tries: 12 },
    { name: 'sign-audit-log', tries: 0 },
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

test('What a job was about is gone a day after its end, and mails that could not be sent ninety days after', async () => {
  const app = await startApp()
  const { query } = await openDatabase(app.installation)
  const isOurs = `name IN ('send-email', 'mail-request', 'breach-check')`
  // As an earlier version may have made them.
  await query(`UPDATE jobs.queue SET deletion_seconds = 604800, heartbeat_seconds = NULL WHERE ${isOurs}`)
  await startApp({ beside: app })
  const seconds = `DISTINCT deletion_seconds / 86400 AS days, heartbeat_seconds AS heartbeat`
  expect((await query(`SELECT ${seconds} FROM jobs.queue WHERE ${isOurs}`)).rows).toEqual([{ days: 1, heartbeat: 10 }])
  const kept = `SELECT retention_seconds / 86400 AS days FROM jobs.queue WHERE name LIKE '%.dead'`
  expect((await query(kept)).rows).toEqual([{ days: 90 }, { days: 90 }])
})

test('What a clock begins: what has expired goes each hour, and the log is signed each minute', async () => {
  const { query } = await openDatabase((await startApp()).installation)
  const { rows } = await query('SELECT name, cron FROM jobs.schedule ORDER BY name')
  expect(rows).toEqual([
    { name: 'purge-expired', cron: '17 * * * *' },
    { name: 'rotate-keys', cron: '47 * * * *' },
    { name: 'sign-audit-log', cron: '* * * * *' },
  ])
})

test('What another worker has done meanwhile, which took this one for dead, is not done again', async () => {
  const app = await startApp()
  const { query } = await openDatabase(app.installation)
  const { email } = await app.newUser()
  await query(doneByAnother('mail-request'))
  await app.anonymous.call(RequestPasswordResetDocument, { input: { email } })
  expect(await subjectsOf(app, email)).not.toContain(SUBJECTS.reset)
  expect((await query(ENDS)).rows).toEqual([{ ends: 2 }])
})

/** `check` finds out that a password, which was chosen before, is known from a breach. */
async function startLateChecks() {
  let isAnswering = false
  const app = await startApp({ breaches: { isBreached: async () => isAnswering || null } })
  const { query } = await openDatabase(app.installation)
  const check = async () => {
    isAnswering = true
    await eventually(async () => {
      await query(TRY_NOW)
      app.operator.wake('breach-check')
      return (await query(`SELECT FROM jobs.job WHERE name = 'breach-check' AND state = 'completed'`)).rowCount
    }, 30_000).toBe(1)
  }
  return { app, query, check }
}

test('Nor is an owner told twice of a breach', async () => {
  const { app, query, check } = await startLateChecks()
  const { email } = await app.newUser()
  await query(doneByAnother('breach-check'))
  await check()
  expect(await subjectsOf(app, email)).not.toContain(SUBJECTS.passwordInBreach)
  expect((await query(ENDS)).rows).toEqual([{ ends: 2 }])
})

test('Of a password that somebody else may have chosen with an address, nobody there is told', async () => {
  const { app, check } = await startLateChecks()
  const { email } = await app.register()
  await check()
  expect(await subjectsOf(app, email)).toEqual([SUBJECTS.verification])
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

const LEFT = `SELECT FROM jobs.job WHERE name = 'mail-request' AND state < 'completed'`

test('However many mails are asked for at once, who has carried out one takes the next at once', async () => {
  const app = await startApp()
  const { query } = await openDatabase(app.installation)
  const ask = (email: string) => app.anonymous.call(RequestPasswordResetDocument, { input: { email } })
  // At one in each second, they would take longer than anybody waits here.
  await Promise.all(Array.from({ length: 100 }, (_, index) => ask(`nobody${index}@example.com`)))
  await eventually(async () => (await query(LEFT)).rowCount).toBe(0)
})

test('However much the job queue waits for, most connections to the database are left to requests', async () => {
  const app = await startApp({ env: { DATABASE_POOL_SIZE: '4' } })
  const account = await app.register()
  const lock = await lockDatabase(app.installation, 'LOCK TABLE jobs.job_common IN ACCESS EXCLUSIVE MODE')
  for (const queue of ['send-email', 'mail-request', 'breach-check'] as const) app.operator.wake(queue)
  await lock.untilWaiting(2)
  const input = { identifier: account.email, password: PASSWORD }
  expectType(await app.anonymous.call(LoginDocument, { input }), 'EmailNotVerifiedError')
  await lock.untilWaiting(2)
  await lock.release()
})

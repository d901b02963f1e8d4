import pg from 'pg'
import { describe, expect, test, vi } from 'vitest'
import { runningPostgresUrl } from '../../src/infra/embedded-postgres.js'
import { PASSWORD, startApp, type TestApp } from '../support/app.js'
import { createClient, expectType } from '../support/client.js'
import { createTestClock } from '../support/clock.js'
import { eventually } from '../support/eventually.js'
import { AuditLogDocument, LoginDocument, RegisterDocument, type RegisterInput } from '../support/generated/graphql.js'
import { createInstallation } from '../support/installation.js'
import { type Mail, SUBJECTS } from '../support/mailbox.js'
import { makeDataDir, postmasterOf, processEnv, START_MS, startProcess } from '../support/server-process.js'

// A mail whose job was under way is tried again when the job expires, after half a minute.
const REDELIVERY_MS = 90_000
vi.setConfig({ testTimeout: 3 * START_MS + REDELIVERY_MS })

const REGISTRATIONS = 200
const AT_A_TIME = 20

/** Registers until all are done or the server is gone. Gives the addresses whose registration was answered. */
async function registerMany(url: string, onAnswer: (count: number) => void): Promise<string[]> {
  const client = createClient((init) => fetch(`${url}/graphql`, init))
  const answered: string[] = []
  let next = 0
  async function work(): Promise<void> {
    while (next < REGISTRATIONS) {
      next += 1
      const email = `customer${next}@example.com`
      const input: RegisterInput = { email, password: PASSWORD, termsAccepted: true, privacyPolicyAccepted: true }
      const result = await client.call(RegisterDocument, { input }).catch(() => null)
      if (!result) return
      expectType(result, 'RegisterSuccess')
      answered.push(email)
      onAnswer(answered.length)
    }
  }
  await Promise.all(Array.from({ length: AT_A_TIME }, work))
  return answered
}

/** Every REGISTERED event of the log, as the address of its account. */
async function registered(app: TestApp): Promise<string[]> {
  const auditor = await app.auditor()
  const read = async (after: string | null): Promise<string[]> => {
    const filter = { types: ['REGISTERED' as const], success: true }
    const { edges, pageInfo } = await auditor.call(AuditLogDocument, { scope: 'EVERYONE', filter, first: 100, after })
    const emails = edges.map(({ node }) => node.user?.email ?? '')
    return pageInfo.hasNextPage ? [...emails, ...(await read(pageInfo.endCursor ?? null))] : emails
  }
  return read(null)
}

async function verificationsOf({ url }: TestApp): Promise<string[]> {
  const response = await fetch(`${url}/dev/mailbox`, { headers: { accept: 'application/json' } })
  const mails = (await response.json()) as Mail[]
  return mails.filter(({ subject }) => subject === SUBJECTS.verification).map(({ to }) => to)
}

/** No mail waits, nor is one under way. */
async function isIdle({ installation }: TestApp): Promise<boolean> {
  const database = new pg.Client(installation.databaseUrl)
  await database.connect()
  const query = `SELECT FROM jobs.job WHERE name IN ('mail-request', 'send-email') AND state < 'completed'`
  return (await database.query(query).finally(() => database.end())).rowCount === 0
}

/** What was answered is there, and nothing is there in part. */
async function expectAllThere(app: TestApp, answered: readonly string[]): Promise<void> {
  for (const identifier of answered) {
    const result = await app.anonymous.call(LoginDocument, { input: { identifier, password: PASSWORD } })
    expectType(result, 'EmailNotVerifiedError')
  }
  await eventually(() => isIdle(app), REDELIVERY_MS).toBe(true)
  const accounts = (await registered(app)).sort()
  expect(accounts).toEqual(expect.arrayContaining([...answered]))
  expect(new Set(accounts).size).toBe(accounts.length)
  expect((await verificationsOf(app)).sort()).toEqual(accounts)
}

describe('every registration that was answered exists once, with its event and its mail', () => {
  test('when the server was killed meanwhile', async () => {
    const installation = await createInstallation()
    const server = startProcess(processEnv({ DATABASE_URL: installation.databaseUrl }))
    const answered = await registerMany(await server.ready, (count) => {
      if (count === REGISTRATIONS / 2) server.kill('SIGKILL')
    })
    expect(await server.exited).toBeNull()
    expect(answered.length).toBeGreaterThanOrEqual(REGISTRATIONS / 2)
    expect(answered.length).toBeLessThan(REGISTRATIONS)
    const app = await startApp({ beside: { installation } })
    await expectAllThere(app, answered)
  })

  test('when the server and the database that it runs were killed meanwhile', async () => {
    const dataDir = makeDataDir()
    const env = processEnv({ DATA_DIR: dataDir })
    const server = startProcess(env)
    const answered = await registerMany(await server.ready, (count) => {
      if (count !== REGISTRATIONS / 2) return
      process.kill(postmasterOf(dataDir), 'SIGKILL')
      server.kill('SIGKILL')
    })
    await server.exited
    expect(answered.length).toBeLessThan(REGISTRATIONS)

    const restarted = startProcess(env)
    await restarted.ready
    const databaseUrl = (await runningPostgresUrl(dataDir)) ?? expect.fail('The database does not run')
    const installation = { databaseUrl, clock: createTestClock(), redisPrefix: 'crash:', remove: async () => {} }
    const app = await startApp({ beside: { installation } })
    await expectAllThere(app, answered)
  })
})

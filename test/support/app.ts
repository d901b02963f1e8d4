import { inspect } from 'node:util'
import { afterAll, onTestFinished, TestRunner } from 'vitest'
import { createApp } from '../../src/app.js'
import { loadConfig } from '../../src/config.js'
import type { BreachChecker } from '../../src/ports.js'
import { byServer } from '../../src/services/client.js'
import { type Auditor, createAuditor } from './auditor.js'
import { type Browser, createBrowser } from './browser.js'
import { type Client, createClient, expectType } from './client.js'
import type { TestClock } from './clock.js'
import { DEVICES } from './devices.js'
import { TEST_ENVIRONMENT } from './environment.js'
import { LoginDocument, RegisterDocument, type RegisterInput, VerifyEmailDocument } from './generated/graphql.js'
import { createInstallation, type Installation } from './installation.js'
import { createTestLog, type TestLog } from './log.js'
import { createTestMailbox, type Mailbox, proofOf, SUBJECTS } from './mailbox.js'
import { expectNoSecrets, noteKeys, noteSigningKeys } from './secrets.js'
import { threadsOf } from './threads.js'
import { createUser, type User } from './user.js'

export interface Overrides {
  /** Settings beside those of TEST_ENVIRONMENT. */
  env?: Record<string, string>
  breaches?: BreachChecker
  /** Another process of the same installation: it shares the database, the time and the Redis keys of that app. */
  beside?: Pick<TestApp, 'installation'>
}

type Server = Awaited<ReturnType<typeof createApp>>

/** What an operator does to accounts, by their e-mail address; the API has no fields for it. */
export interface Operator {
  grant(email: string, name: string): Promise<unknown>
  deactivate(email: string): Promise<unknown>
  unlock(email: string): Promise<unknown>
  /** Runs the scheduled removal of what has expired. */
  purge(): Promise<unknown>
  /** Runs the scheduled signing of the audit log. */
  sign(): Promise<unknown>
  /** Makes a new signing key, as `keys rotate` does. */
  rotateKeys(): Promise<unknown>
  /** Withdraws a signing key, as `keys revoke` does. */
  revokeKey(kid: string): Promise<unknown>
  /** Has the jobs of a queue done now, not at the next poll. */
  wake: Server['runtime']['jobs']['wake']
  /** What no API tells: the stored hash of a password. */
  passwordHashOf(user: { id: string }): Promise<string>
}

/** What an account is registered with. */
export type NewAccount = RegisterInput

export interface TestApp extends Mailbox, Auditor {
  url: string
  clock: TestClock
  /** A test that provokes an error of the server takes it out of `problems`: the rest fail the test. */
  log: TestLog
  operator: Operator
  installation: Installation
  /** Somebody who is not signed in. */
  anonymous: Client
  /** A browser without cookies. */
  browser(headers?: Record<string, string>): Browser
  /** Input that registers an account which nobody else has. */
  newAccount(input?: Partial<NewAccount>): NewAccount
  /** Registers, and leaves the mail unanswered. */
  register(input?: Partial<NewAccount>): Promise<NewAccount>
  /** Takes the code out of the mail, verifies and signs in. */
  verify(account: NewAccount): Promise<User>
  /** Somebody who has registered, verified and signed in. */
  newUser(input?: Partial<NewAccount>): Promise<User>
}

export const PASSWORD = 'amber lantern over quiet harbour'
export const NEXT_PASSWORD = 'seven copper kites above marsh'

const MAILS_UNDER_WAY = `
  SELECT name, bool_or(state < 'active') AS "isWaiting" FROM jobs.job
  WHERE name IN ('mail-request', 'send-email') AND state < 'completed' GROUP BY name`
const PASSWORD_HASH = 'SELECT password_hash FROM users WHERE id = $1'

function configOf(databaseUrl: string, env: Record<string, string>) {
  const redis: Record<string, string> = process.env.TEST_REDIS_URL ? { REDIS_URL: process.env.TEST_REDIS_URL } : {}
  const settings = { ...TEST_ENVIRONMENT, ...redis, DATABASE_URL: databaseUrl, ...env }
  noteKeys(settings)
  return loadConfig(settings)
}

/** Starts a server on a database of its own. It ends with the test or, started outside of one, with the file. */
export async function startApp({ env = {}, beside, ...replacements }: Overrides = {}): Promise<TestApp> {
  const installation = beside ? { ...beside.installation, remove: async () => {} } : await createInstallation()
  const { clock, redisPrefix, remove } = installation
  const log = createTestLog()
  const config = configOf(installation.databaseUrl, env)
  const server = await createApp(config, log, { ...threadsOf(config), ...replacements, clock, redisPrefix })
  const { pool } = server.runtime.db
  // Those that a test withdraws are gone in the end.
  await noteSigningKeys(pool)
  const close = async () => {
    const checked = expectNoSecrets(pool, log.lines)
    await checked.finally(() => server.close()).finally(remove)
    if (log.problems.length > 0) throw new Error(`The server logged errors: ${inspect(log.problems, { depth: 8 })}`)
  }
  if (TestRunner.getCurrentTest()) onTestFinished(close)
  else afterAll(close)
  return openDoors(server, installation, log)
}

function operatorOf({ runtime: { services, db, jobs } }: Server): Operator {
  const { administration, checkpoints, maintenance, signingKeys, revokeKey } = services
  const client = byServer('operator')
  return {
    grant: (email, name) => administration.grant(client, email, name),
    deactivate: (email) => administration.deactivate(client, email),
    unlock: (email) => administration.unlock(client, email),
    purge: maintenance.purge,
    sign: checkpoints.signIfDue,
    rotateKeys: signingKeys.rotate,
    revokeKey,
    wake: jobs.wake,
    passwordHashOf: async ({ id }) => (await db.pool.query(PASSWORD_HASH, [id])).rows[0].password_hash,
  }
}

/** Everything through which tests reach a server. */
async function openDoors(server: Server, installation: Installation, log: TestLog): Promise<TestApp> {
  const url = await server.listen()
  const endpoint = `${url}/graphql`
  const device = { 'user-agent': DEVICES.firefoxOnLinux }
  const anonymous = createClient((init) => fetch(endpoint, init), device)
  const browser = (headers: Record<string, string> = {}) => createBrowser(endpoint, { ...device, ...headers })
  const operator = operatorOf(server)
  const { pool } = server.runtime.db
  const isIdle = async () => {
    const { rows } = await pool.query(MAILS_UNDER_WAY)
    for (const { name, isWaiting } of rows) if (isWaiting) operator.wake(name)
    return rows.length === 0
  }
  const mailbox = createTestMailbox(url, isIdle)
  const { clock } = installation
  let accounts = 0

  function newAccount(input: Partial<NewAccount> = {}): NewAccount {
    accounts += 1
    const email = `person${accounts}@example.com`
    return { email, password: PASSWORD, termsAccepted: true, privacyPolicyAccepted: true, ...input }
  }

  async function register(input: Partial<NewAccount> = {}): Promise<NewAccount> {
    const account = newAccount(input)
    expectType(await anonymous.call(RegisterDocument, { input: account }), 'RegisterSuccess')
    return account
  }

  async function verify({ email, password }: NewAccount): Promise<User> {
    const { code } = proofOf(await mailbox.mail(email, SUBJECTS.verification))
    expectType(await anonymous.call(VerifyEmailDocument, { input: { email, code } }), 'VerifyEmailSuccess')
    const credentials = { identifier: email, password, tokenDelivery: 'BODY' } as const
    const { authentication } = expectType(await anonymous.call(LoginDocument, { input: credentials }), 'LoginSuccess')
    return createUser(authentication, { account: { email, password }, anonymous, browser })
  }
  const newUser = async (input: Partial<NewAccount> = {}) => verify(await register(input))

  return {
    ...{ url, clock, log, operator, installation, anonymous, browser, newAccount, register, verify, newUser },
    ...mailbox,
    ...createAuditor({ newUser, clock, grant: operator.grant, isIdle }),
  }
}

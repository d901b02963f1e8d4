import pg from 'pg'
import { afterAll, expect, onTestFinished, test, vi } from 'vitest'
import { DETECTION_RULES } from '../../src/detection-rules.js'
import { NEXT_PASSWORD, PASSWORD, startApp } from '../support/app.js'
import { addCrowd, BIG_TABLES } from '../support/crowd.js'
import { untilJudged } from '../support/detection.js'
import {
  AuditLogDocument,
  ChangePasswordDocument,
  CheckPasswordDocument,
  ExchangeTokenDocument,
  LoginDocument,
  LogoutDocument,
  MeDocument,
  RefreshDocument,
  RegisterDocument,
  RequestPasswordResetDocument,
  ResendVerificationEmailDocument,
  ResetPasswordDocument,
  SecurityOverviewDocument,
  SessionsDocument,
  TerminateAllSessionsDocument,
  TerminateSessionDocument,
  UpdateProfileDocument,
  VerifyEmailDocument,
  VerifyTokenDocument,
} from '../support/generated/graphql.js'
import { createInstallation } from '../support/installation.js'
import { proofOf, SUBJECTS } from '../support/mailbox.js'
import { openSocket } from '../support/streams.js'

interface Statement {
  /** Of a prepared statement: after a few calls PostgreSQL may plan it without looking at the values. */
  name?: string
  text: string
  values: unknown[]
}
interface Plan {
  'Node Type': string
  'Relation Name'?: string
  Filter?: string
  'Actual Rows'?: number
  'Actual Loops'?: number
  'Rows Removed by Filter'?: number
  Plans?: Plan[]
}

const installation = await createInstallation()
afterAll(installation.remove)
const database = new pg.Client(installation.databaseUrl)
await database.connect()
await addCrowd(database)
// The crowd is not judged: that would take a while.
await database.query('UPDATE audit_detector SET position = (SELECT max(position) FROM audit_events)')
const app = await startApp({ env: { REDIS_URL: '', DETECTION_RULES: '' }, beside: { installation } })

/** Every statement that the server sends while the work is done, once each. */
async function recordStatements(work: () => Promise<void>): Promise<Statement[]> {
  const statements = new Map<string, Statement>()
  const query = pg.Client.prototype.query
  const recording = vi.spyOn(pg.Client.prototype, 'query').mockImplementation(function (
    this: pg.Client,
    ...args: unknown[]
  ) {
    const [first, second] = args
    const { name, text, values } =
      typeof first === 'string' ? { name: undefined, text: first, values: second } : (first as Statement)
    const isPlannable = /^\s*(SELECT|WITH|INSERT|UPDATE|DELETE)\b/i.test(text) && !/\bjobs\./.test(text)
    if (isPlannable) statements.set(text, { ...(name && { name }), text, values: Array.isArray(values) ? values : [] })
    return Reflect.apply(query, this, args)
  } as typeof query)
  onTestFinished(() => recording.mockRestore())
  await work()
  recording.mockRestore()
  return [...statements.values()]
}

/** Everything that people do, at least once. */
async function useEverything(): Promise<void> {
  const { anonymous } = app
  const ada = await app.newUser({ username: 'ada' })
  const auditor = await app.auditor()
  const email = ada.email
  const wrong = { identifier: email, password: 'not the password' }
  await anonymous.call(LoginDocument, { input: wrong })
  await anonymous.call(LoginDocument, { input: { ...wrong, identifier: 'nobody@example.com' } })
  await anonymous.call(LoginDocument, { input: { identifier: 'ADA', password: PASSWORD, tokenDelivery: 'BODY' } })
  await anonymous.call(RegisterDocument, { input: app.newAccount({ email }) })
  const pending = await app.register({ username: 'grace' })
  await anonymous.call(ResendVerificationEmailDocument, { input: { email: pending.email } })
  const { token } = proofOf(await app.mail(pending.email, SUBJECTS.verification))
  const verified = await anonymous.call(VerifyEmailDocument, { input: { token } })
  const exchangeToken = 'exchangeToken' in verified ? verified.exchangeToken : ''
  await anonymous.call(ExchangeTokenDocument, { input: { token: exchangeToken, tokenDelivery: 'BODY' } })
  await anonymous.call(CheckPasswordDocument, { input: { password: PASSWORD } })

  const other = await ada.logIn()
  const next = await other.refreshed()
  await other.refreshed()
  await anonymous.call(RefreshDocument, { input: { refreshToken: 'x'.repeat(67) } })
  await anonymous.call(VerifyTokenDocument, { input: { token: next.accessToken } })
  await ada.call(MeDocument)
  await ada.call(SessionsDocument, { first: 10 })
  await ada.call(SessionsDocument, { last: 10, includeEnded: true })
  await ada.call(UpdateProfileDocument, { input: { username: 'countess', firstName: 'Ada' } })
  await ada.call(TerminateSessionDocument, { input: { sessionId: next.sessionId } })
  await ada.call(TerminateAllSessionsDocument)

  await ada.call(AuditLogDocument, { first: 10 })
  const { id: userId, sessionId } = ada
  const filters = [
    ...[
      {},
      { userId },
      { sessionId },
      { ipAddress: '127.0.0.1' },
      { types: ['LOGIN_FAILED' as const], success: false },
    ],
    ...[{ minRiskLevel: 'HIGH' as const }, { from: new Date(Date.now() - 60_000).toISOString() }],
    ...[
      { userId, ipAddress: '127.0.0.1' },
      { sessionId, ipAddress: '127.0.0.1' },
      { userId, sessionId },
    ],
    { userId, sessionId, ipAddress: '127.0.0.1', to: new Date().toISOString() },
  ]
  for (const filter of filters) {
    await auditor.call(AuditLogDocument, { scope: 'EVERYONE', filter, first: 10 })
    await auditor.call(AuditLogDocument, { scope: 'EVERYONE', filter, last: 10 })
  }
  const { edges } = await auditor.call(AuditLogDocument, { scope: 'EVERYONE', first: 5 })
  const after = edges.at(-1)?.cursor ?? null
  await auditor.call(AuditLogDocument, { scope: 'EVERYONE', first: 5, after })
  await auditor.call(SecurityOverviewDocument, { hours: 1 })
  const alerts = 'subscription ($after: String) { securityAlerts(after: $after, minRiskLevel: LOW) { cursor } }'
  await (await openSocket(app.url, { token: ada.accessToken })).follow(alerts, { after }).next()

  const change = { currentPassword: PASSWORD, newPassword: NEXT_PASSWORD }
  await ada.call(ChangePasswordDocument, { input: change })
  await anonymous.call(RequestPasswordResetDocument, { input: { email } })
  const reset = proofOf(await app.mail(email, SUBJECTS.reset))
  await anonymous.call(ResetPasswordDocument, { input: { email, code: '000000', newPassword: PASSWORD } })
  await anonymous.call(ResetPasswordDocument, {
    input: { token: reset.token, newPassword: 'under nine grey bridges 4' },
  })
  await (await ada.logIn({ password: 'under nine grey bridges 4' })).call(LogoutDocument)
  await untilJudged(app)
  await app.operator.purge()
  await app.operator.sign()
}

/** Where a plan reads a whole table that grows. */
function seqScansIn(plan: Plan): string[] {
  const isScan = plan['Node Type'] === 'Seq Scan' && BIG_TABLES.includes(plan['Relation Name'] ?? '')
  const own = isScan ? [`${plan['Relation Name']}: ${plan.Filter ?? 'no filter'}`] : []
  return [...own, ...(plan.Plans ?? []).flatMap(seqScansIn)]
}

async function planOf(query: string, values: unknown[] | undefined): Promise<Plan> {
  await database.query('BEGIN')
  try {
    const { rows } = await database.query(query, values)
    return rows[0]['QUERY PLAN'][0].Plan
  } finally {
    await database.query('ROLLBACK')
  }
}

const explain = async (query: string, values: unknown[] | undefined): Promise<string[]> =>
  seqScansIn(await planOf(query, values)).map((scan) => `${scan} in ${query}`)

/** How many events a plan has looked at, by whatever index. */
function eventsReadBy(plan: Plan): number {
  const rows = (plan['Actual Rows'] ?? 0) + (plan['Rows Removed by Filter'] ?? 0)
  const own = plan['Relation Name'] === 'audit_events' ? rows * (plan['Actual Loops'] ?? 1) : 0
  return own + (plan.Plans ?? []).reduce((sum, part) => sum + eventsReadBy(part), 0)
}

/** The dashboard tells how many sessions are active, and there is no counting them without reading them. */
const COUNTS_ALL = /AS "activeSessions"/

test('No statement of the product reads a whole table that grows: not with a hundred thousand accounts', async () => {
  onTestFinished(() => database.end())
  const statements = await recordStatements(useEverything)
  expect(statements.length).toBeGreaterThan(40)
  const { rows } = await database.query(`SELECT current_setting('server_version_num')::int AS version`)
  const hasGenericPlans = rows[0].version >= 160_000
  const scans: string[] = []
  for (const { name, text, values } of statements) {
    if (COUNTS_ALL.test(text)) continue
    scans.push(...(await explain(`EXPLAIN (FORMAT JSON) ${text}`, values)))
    if (name && hasGenericPlans)
      scans.push(...(await explain(`EXPLAIN (GENERIC_PLAN, FORMAT JSON) ${text}`, undefined)))
  }
  expect(scans).toEqual([])

  const rules = statements.filter(({ text }) => /AS network/.test(text))
  expect(rules).toHaveLength(Object.keys(DETECTION_RULES).length)
  for (const { text, values } of rules) {
    // The last thousand events of the crowd, some ninety of them to be judged.
    const [, , , ...threshold] = values
    const plan = await planOf(`EXPLAIN (ANALYZE, FORMAT JSON) ${text}`, [99_000, 100_000, new Date(0), ...threshold])
    expect(eventsReadBy(plan), text).toBeLessThan(10_000)
  }
})

import { expect, test } from 'vitest'
import { startApp } from '../support/app.js'
import { openDatabase } from '../support/database.js'
import { lockDatabase } from '../support/database-lock.js'
import { eventually } from '../support/eventually.js'
import { SessionsDocument } from '../support/generated/graphql.js'
import { metric } from '../support/metrics.js'

const LOCK = 'LOCK TABLE audit_events IN ACCESS EXCLUSIVE MODE'
const ISSUER = { JWT_ISSUER: 'https://auth.example', JWT_AUDIENCE: 'https://auth.example' }
const BUSY = { code: 'SERVICE_UNAVAILABLE', retryAfter: 1 }
/** As many as a document may have. */
const ROOT_FIELDS = 20
const PAGE = 'auditLog { edges { cursor } }'
const repeated = (field: string) =>
  JSON.stringify({ query: `{ ${Array.from({ length: ROOT_FIELDS }, (_, index) => `a${index}: ${field}`).join(' ')} }` })

test.each([
  ['pages of the audit log', PAGE],
  ['overviews', 'securityOverview { from }'],
  ['proofs of its chain', 'auditChain { isIntact }'],
])('Who asks for twenty %s at once keeps nobody else from the database', async (_, field) => {
  const app = await startApp()
  const [auditor, bob] = [await app.auditor(), await app.newUser()]
  const lock = await lockDatabase(app.installation, LOCK)
  const asked = auditor.post(repeated(field))
  // Time enough for all that was asked to come to the database.
  for (let request = 0; request < 10; request += 1) await bob.call(SessionsDocument)
  await lock.release()
  expect((await asked).errors).toEqual([])
})

test('Of one user a hundred reads of the audit log wait, and no more; those of others do not count', async () => {
  const app = await startApp()
  const [ada, bob] = [await app.newUser(), await app.newUser()]
  const lock = await lockDatabase(app.installation, LOCK)
  const asked = Array.from({ length: 6 }, () => ada.post(repeated(PAGE)))
  expect((await Promise.race(asked)).errors[0]).toMatchObject({ extensions: BUSY })
  const ofBob = bob.post(repeated(PAGE))
  await lock.release()
  const statuses = (await Promise.all(asked)).map(({ status }) => status)
  expect(statuses.sort()).toEqual([200, 200, 200, 200, 200, 503])
  expect((await ofBob).errors).toEqual([])
})

test('A proof of the chain ends with its operation', async () => {
  const app = await startApp({ env: ISSUER })
  const auditor = await app.auditor()
  const { query } = await openDatabase(app.installation)
  const pages = 40
  await query(`INSERT INTO audit_inbox (type, occurred_at, success, risk_level)
    SELECT 'LOGIN_FAILED', now() - interval '2 days', false, 'MEDIUM' FROM generate_series(1, ${pages} * 500)`)
  await auditor.post(`{ "query": "{ ${PAGE} }" }`)
  const env = { ...ISSUER, MAX_IN_FLIGHT: '1', OPERATION_TIMEOUT: '300ms' }
  const server = await startApp({ env, beside: app })
  const headers = { authorization: `Bearer ${auditor.accessToken}` }
  const lock = await lockDatabase(app.installation, LOCK)
  const body = JSON.stringify({ query: '{ auditChain(first: 50000) { isIntact } }' })
  expect(await server.anonymous.post(body, headers)).toMatchObject({ status: 503, errors: [{ extensions: BUSY }] })
  const before = await metric(server.url, 'database_queries_total')
  await lock.release()
  // It has ended when the next one is let in.
  await eventually(async () => (await server.anonymous.post('{ "query": "{ __typename }" }')).status).toBe(200)
  expect((await metric(server.url, 'database_queries_total')) - before).toBeLessThan(pages)
})

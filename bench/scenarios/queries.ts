import type { Row } from '../report.js'
import { AUDIT_PAGE, AUDIT_PAGE_WITH_USERS, readMetrics, request } from '../support/api.js'
import type { Environment } from '../support/environment.js'
import { assertGood, meJob } from './throughput.js'

const MAX_QUERIES = 0.2
const REPETITIONS = 6
const QUERIES = 'portcullis_database_queries_total'
const READS = 'portcullis_cache_reads_total'

/** Database queries and cache hits of `me` at a steady state; what runs in the background counts too. */
async function measureMe(environment: Environment): Promise<Row[]> {
  const { origin, load, options } = environment
  await load({ ...meJob(environment), count: 1000 })
  const before = await readMetrics(origin)
  const result = await load({ ...meJob(environment), count: options.isQuick ? 5000 : 20_000 })
  const after = await readMetrics(origin)
  assertGood('me', result)
  const queries = (after(QUERIES) - before(QUERIES)) / result.answered
  const reads = after(READS) - before(READS)
  const hits = after(READS, 'result="hit"') - before(READS, 'result="hit"')
  return [
    {
      name: 'database queries per me',
      value: queries,
      unit: '',
      target: { text: `<= ${MAX_QUERIES}`, isMet: queries <= MAX_QUERIES },
      note: `over ${result.answered} requests`,
    },
    { name: 'cache hit rate of me', value: (100 * hits) / reads, unit: '%', note: `${reads} reads` },
  ]
}

type Page = { auditLog: { edges: { node: { user?: { email: string } | null } }[] } }

/** A page of the audit log with a cold cache: what it costs, and whose events it shows. */
async function readPage({ origin, redis, accounts }: Environment, query: string) {
  await redis.flushdb()
  const body = JSON.stringify({ query })
  const before = (await readMetrics(origin))(QUERIES)
  const { auditLog } = await request<Page>(origin, body, accounts.auditor)
  const queries = (await readMetrics(origin))(QUERIES) - before
  const users = new Set(auditLog.edges.flatMap(({ node }) => node.user?.email ?? []))
  return { queries, users: users.size }
}

/** What the accounts of a page of events cost beyond the page. The least of several, as work in the background only adds. */
async function measurePage(environment: Environment): Promise<Row[]> {
  let [least, leastWithUsers, users] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY, 0]
  for (let repetition = 0; repetition < REPETITIONS; repetition += 1) {
    least = Math.min(least, (await readPage(environment, AUDIT_PAGE)).queries)
    const page = await readPage(environment, AUDIT_PAGE_WITH_USERS)
    leastWithUsers = Math.min(leastWithUsers, page.queries)
    users = page.users
  }
  const difference = leastWithUsers - least
  return [
    {
      name: 'queries for the users of a page',
      value: difference,
      unit: '',
      target: { text: '= 1', isMet: difference === 1 && users > 10 },
      note: `${users} users; ${least} queries without, ${leastWithUsers} with them, cache empty`,
    },
  ]
}

export async function measureQueries(environment: Environment): Promise<Row[]> {
  const { only } = environment.options
  return [
    ...(only.has('queries') ? await measureMe(environment) : []),
    ...(only.has('page') ? await measurePage(environment) : []),
  ]
}

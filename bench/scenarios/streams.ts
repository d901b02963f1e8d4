import { setTimeout as sleep } from 'node:timers/promises'
import type { Row } from '../report.js'
import { readMetrics, request } from '../support/api.js'
import type { Environment } from '../support/environment.js'
import { median, percentile } from '../support/load.js'
import { startHelper } from '../support/processes.js'
import type { StreamAnswer, StreamQuestion } from '../support/stream-worker.js'
import { assertGood, refreshJob } from './throughput.js'

const EVENTS = 'subscription { securityEvents { cursor node { id type occurredAt userId } } }'
const UPDATE = 'mutation ($name: String) { updateProfile(input: { firstName: $name }) { __typename } }'
const MB = 1_000_000
const MAX_RSS = 400
const SETTLE_MS = 1500
const EVENTS_PER_SECOND = 500

const updateBody = (name: string) => JSON.stringify({ query: UPDATE, variables: { name } })

function startSubscribers({ port, accounts }: Environment, subscribers: number) {
  const worker = startHelper('./stream-worker.ts')
  const ask = (question: StreamQuestion) => worker.ask<StreamAnswer>(question)
  const job = { port, token: accounts.auditor, query: EVENTS, open: subscribers }
  return { open: () => ask({ job }), take: async (expect: number) => (await ask({ expect })).arrivals }
}

/** A thousand subscribers: what they weigh, and how long one event takes to reach the last of them. */
async function measureCrowd(environment: Environment): Promise<Row[]> {
  const { origin, accounts, options } = environment
  const count = options.isQuick ? 200 : 1000
  const { open, take } = startSubscribers(environment, count)
  await open()
  await sleep(SETTLE_MS)
  const rss = (await readMetrics(origin))('process_resident_memory_bytes') / MB
  const delays: number[] = []
  for (let round = 0; round < 10; round += 1) {
    const startedAt = performance.timeOrigin + performance.now()
    await request(origin, updateBody(`Round ${round}`), accounts.accessTokens[0])
    const arrivals = await take(1)
    delays.push(Math.max(...arrivals.map(({ at }) => at)) - startedAt)
  }
  return [
    {
      name: `memory with ${count} subscribers`,
      value: rss,
      unit: 'MB',
      target: { text: `< ${MAX_RSS} MB`, isMet: rss < MAX_RSS },
    },
    {
      name: `one event to the last of ${count}`,
      value: median(delays),
      unit: 'ms',
      target: { text: '< 500 ms', isMet: median(delays) < 500 },
      note: `from the request on; worst of ${delays.length}: ${Math.max(...delays).toFixed(0)} ms`,
    },
  ]
}

/** From an event to its subscribers, with 500 events a second. */
async function measureDelay(environment: Environment): Promise<Row[]> {
  const { accounts, load, options } = environment
  const { open, take } = startSubscribers(environment, 10)
  await open()
  // Nothing says when a subscription has begun.
  await sleep(SETTLE_MS)
  const seconds = options.isQuick ? 3 : 15
  const job = refreshJob(environment)
  const result = await load({ ...job, everyMs: (job.connections * 1000) / EVENTS_PER_SECOND, ms: seconds * 1000 })
  assertGood('refresh', result)
  const { answered } = result
  accounts.refreshTokens = result.tokens
  const arrivals = await take(answered)
  const delays = arrivals.map(({ at, occurredAt }) => at - occurredAt).sort((a, b) => a - b)
  const [half, most] = [percentile(delays, 0.5), percentile(delays, 0.99)]
  return [
    {
      name: 'an event to its subscribers, median',
      value: half,
      unit: 'ms',
      target: { text: '< 50 ms', isMet: half < 50 },
      note: `${(answered / seconds).toFixed(0)} refreshes/s, an event each; 10 subscribers, from before the commit`,
    },
    {
      name: 'an event to its subscribers, p99',
      value: most,
      unit: 'ms',
      target: { text: '< 250 ms', isMet: most < 250 },
    },
  ]
}

export async function measureStreams(environment: Environment): Promise<Row[]> {
  if (!environment.options.only.has('streams')) return []
  return [...(await measureDelay(environment)), ...(await measureCrowd(environment))]
}

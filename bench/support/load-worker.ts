// Runs in a process of its own, so that the server and the load share no event loop.
import { setTimeout as sleep } from 'node:timers/promises'
import { HttpConnection, toWire } from './http-connection.js'
import { type LoadJob, type LoadResult, percentile } from './load.js'

const REFRESH_TOKEN = /"refreshToken":"([^"]+)"/

/** The requests of one connection, one after the other. */
function requestsOf({ requests, port, connections }: LoadJob, index: number, tokens: string[]) {
  let turn = index
  if (requests.kind === 'fixed') {
    const { wires } = requests
    return {
      next: () => {
        const wire = wires[turn % wires.length] as string
        turn += connections
        return wire
      },
      learn: () => {},
    }
  }
  const { query } = requests
  return {
    next: () => {
      const variables = { input: { refreshToken: tokens[index] } }
      return toWire(port, JSON.stringify({ query, variables }))
    },
    learn: (body: string) => {
      const token = REFRESH_TOKEN.exec(body)?.[1]
      if (token) tokens[index] = token
    },
  }
}

async function run(job: LoadJob): Promise<LoadResult> {
  const { connections, ms = Number.POSITIVE_INFINITY, count = Number.POSITIVE_INFINITY, pauseMs = 0, everyMs = 0 } = job
  const kinds = Object.entries(job.outcomes)
  const outcomes: Record<string, number> = {}
  const latencies: number[] = []
  const latenciesOf: Record<string, number[]> = {}
  const tokens = job.requests.kind === 'refresh' ? [...job.requests.tokens] : []
  let started = 0
  let lost = 0
  let sample: string | null = null

  const classify = (status: number, body: string, latency: number) => {
    const kind = kinds.find(([, text]) => body.includes(text))?.[0] ?? 'other'
    if (kind === 'other') sample ??= `${status} ${body.slice(0, 500)}`
    outcomes[kind] = (outcomes[kind] ?? 0) + 1
    const known = latenciesOf[kind] ?? []
    latenciesOf[kind] = known
    known.push(latency)
  }

  async function work(connection: HttpConnection, index: number): Promise<void> {
    const requests = requestsOf(job, index, tokens)
    const cycleMs = everyMs || pauseMs
    if (cycleMs > 0) await sleep((cycleMs * index) / connections)
    let due = performance.now()
    while (started < count && performance.now() - startedAt < ms) {
      started += 1
      const sentAt = performance.now()
      const { status, body } = await connection.send(requests.next())
      const latency = performance.now() - sentAt
      latencies.push(latency)
      classify(status, body, latency)
      requests.learn(body)
      due += everyMs
      // With jitter, as docs/errors.md asks for: those who are answered together would come back together for ever.
      const waitMs = everyMs ? due - performance.now() : pauseMs * (0.5 + Math.random())
      if (waitMs > 0) await sleep(waitMs)
    }
  }

  const open = await Promise.all(Array.from({ length: connections }, () => HttpConnection.open(job.port)))
  const startedAt = performance.now()
  await Promise.all(
    open.map((connection, index) =>
      work(connection, index).catch((error) => {
        lost += 1
        sample ??= String(error)
      }),
    ),
  )
  const seconds = (performance.now() - startedAt) / 1000
  for (const connection of open) connection.close()
  const sorted = Float64Array.from(latencies).sort()
  const p99s = Object.entries(latenciesOf).map(([kind, each]) => [
    kind,
    percentile(Float64Array.from(each).sort(), 0.99),
  ])
  return {
    p99Of: Object.fromEntries(p99s),
    ...{ perSecond: latencies.length / seconds, answered: latencies.length, lost, outcomes, sample, tokens },
    ...{ p50: percentile(sorted, 0.5), p99: percentile(sorted, 0.99), max: sorted.at(-1) ?? 0 },
  }
}

process.on('message', async (job: LoadJob) => process.send?.(await run(job)))
process.on('SIGINT', () => {})
process.on('disconnect', () => process.exit())

import type { Row } from '../report.js'
import { ME, queryWire, REFRESH, readMetrics, SESSIONS } from '../support/api.js'
import type { Environment } from '../support/environment.js'
import { type LoadJob, type LoadResult, median } from '../support/load.js'
import type { ScenarioName } from '../support/options.js'

const CONNECTIONS = 16
const WARM_UP_MS = 2000

export const meJob = ({ port, accounts }: Environment): LoadJob => ({
  port,
  connections: CONNECTIONS,
  requests: { kind: 'fixed', wires: accounts.accessTokens.map((token) => queryWire(port, ME, token)) },
  outcomes: { ok: '"me":{"id":' },
})

const helloJob = ({ helloPort }: Environment): LoadJob => ({
  port: helloPort,
  connections: CONNECTIONS,
  requests: { kind: 'fixed', wires: [queryWire(helloPort, '{ hello }')] },
  outcomes: { ok: '"hello":"world"' },
})

export const sessionsJob = ({ port, accounts }: Environment): LoadJob => ({
  port,
  connections: CONNECTIONS,
  requests: { kind: 'fixed', wires: accounts.accessTokens.map((token) => queryWire(port, SESSIONS, token)) },
  outcomes: { ok: '"sessions":{"edges":[{' },
})

export const refreshJob = ({ port, accounts }: Environment): LoadJob => ({
  port,
  connections: CONNECTIONS,
  requests: { kind: 'refresh', tokens: accounts.refreshTokens, query: REFRESH },
  outcomes: { ok: '"outcome":"ROTATED"' },
})

interface Subject {
  name: ScenarioName | 'hello'
  title: string
  target: number
  job: (environment: Environment) => LoadJob
}

const HELLO: Subject = { name: 'hello', title: 'Bare Yoga', target: 0, job: helloJob }
const SUBJECTS: readonly Subject[] = [
  { name: 'me', title: 'me, 16 connections', target: 2, job: meJob },
  { name: 'refresh', title: 'refresh, 16 chains', target: 0.45, job: refreshJob },
  { name: 'sessions', title: 'sessions(first: 10)', target: 0.6, job: sessionsJob },
]

interface Measurement extends LoadResult {
  /** CPU time of the server for one request. */
  cpuMs: number
}

const cpuOf = async ({ hello, origin }: Environment, { name }: Subject): Promise<number> =>
  name === 'hello'
    ? (await hello.ask<{ cpuMs: number }>({})).cpuMs
    : (await readMetrics(origin))('process_cpu_seconds_total') * 1000

/** Throws unless every request was answered as it should be: a fast refusal is no performance. */
export function assertGood(title: string, { answered, lost, outcomes, sample }: LoadResult): void {
  if (lost > 0 || answered === 0 || outcomes.ok !== answered) {
    throw new Error(`${title}: ${answered} answers, ${lost} lost, ${JSON.stringify(outcomes)}, e.g. ${sample}`)
  }
}

async function measure(environment: Environment, subject: Subject, ms: number): Promise<Measurement> {
  const before = await cpuOf(environment, subject)
  const result = await environment.load({ ...subject.job(environment), ms })
  const cpuMs = ((await cpuOf(environment, subject)) - before) / result.answered
  assertGood(subject.title, result)
  if (subject.name === 'refresh') environment.accounts.refreshTokens = result.tokens
  return { ...result, cpuMs }
}

const medianOf = (results: readonly Measurement[], field: 'perSecond' | 'p50' | 'p99' | 'cpuMs') =>
  median(results.map((result) => result[field]))

function toRow({ title, target }: Subject, results: readonly Measurement[], hello: readonly Measurement[]): Row {
  // Round by round, because what else the machine does changes from one to the next.
  const ratio = median(results.map(({ perSecond }, round) => perSecond / (hello[round]?.perSecond ?? Number.NaN)))
  const [p50, p99, cpuMs] = (['p50', 'p99', 'cpuMs'] as const).map((field) => medianOf(results, field).toFixed(2))
  const cpuRatio = median(results.map((result, round) => (hello[round]?.cpuMs ?? Number.NaN) / result.cpuMs))
  return {
    name: title,
    value: medianOf(results, 'perSecond'),
    unit: '/s',
    ...(target > 0 && {
      baseline: { name: '/s bare Yoga', value: medianOf(hello, 'perSecond') },
      ratio,
      target: { text: `>= ${target}x`, isMet: ratio >= target },
    }),
    note: `p50 ${p50} ms, p99 ${p99} ms, ${cpuMs} ms of CPU each${target > 0 ? `: ${cpuRatio.toFixed(2)}x by CPU` : ''}`,
  }
}

/** Requests per second against those of bare Yoga, in turns. */
export async function measureThroughput(environment: Environment): Promise<Row[]> {
  const { isQuick, only } = environment.options
  const wanted = SUBJECTS.filter(({ name }) => name !== 'hello' && only.has(name))
  if (wanted.length === 0) return []
  const subjects = [HELLO, ...wanted]
  for (const subject of subjects) await measure(environment, subject, WARM_UP_MS)
  const results = new Map<Subject, Measurement[]>(subjects.map((subject) => [subject, []]))
  for (let round = 0; round < (isQuick ? 2 : 4); round += 1) {
    for (const subject of subjects)
      results.get(subject)?.push(await measure(environment, subject, isQuick ? 2000 : 3500))
  }
  return subjects.map((subject) => toRow(subject, results.get(subject) ?? [], results.get(HELLO) ?? []))
}

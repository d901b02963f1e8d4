import { randomInt } from 'node:crypto'
import argon2 from 'argon2'
import pg from 'pg'
import { errorFunction, wilcoxonRankSum } from 'simple-statistics'
import type { Row } from '../report.js'
import { loginBody } from '../support/api.js'
import { onCleanup } from '../support/cleanup.js'
import { createStorage, startServer } from '../support/environment.js'
import { toWire } from '../support/http-connection.js'
import { median } from '../support/load.js'
import type { Options } from '../support/options.js'
import { type Helper, startHelper } from '../support/processes.js'
import { createStrangers, type Kind } from '../support/strangers.js'
import type { TimingJob } from '../support/timing-worker.js'

const RUNS = 3
const MAX_P = 0.01
const WARM_UP = 50

const PASSWORD = 'correct horse battery staple 42'
const REGISTERED = 'vq7Lz0xW4tbn'
const WRONG = 'seven copper kites above marsh'

/** Hashing takes little, so that everything else shows. Nothing locks by itself. */
const HASHING = { memoryCost: 1024, timeCost: 1, parallelism: 1 }
const SERVER = {
  PASSWORD_HASH_MEMORY_KIB: String(HASHING.memoryCost),
  PASSWORD_HASH_ITERATIONS: String(HASHING.timeCost),
  LOCKOUT_THRESHOLD: '1000',
}

const mutation = (field: string, input: object) =>
  JSON.stringify({
    query: `mutation ($input: ${field[0]?.toUpperCase()}${field.slice(1)}Input!) {
      ${field}(input: $input) { __typename }
    }`,
    variables: { input },
  })

interface Question {
  name: string
  /** The request that is asked about an address. */
  body: (email: string) => string
  expected: string
  /** What the others must not differ from. */
  baseline: Kind
  kinds: readonly Kind[]
}

const EVERY_KIND = ['known', 'unverified', 'locked', 'deactivated'] as const

const QUESTIONS: readonly Question[] = [
  {
    name: 'login, wrong password',
    body: (email) => loginBody(email, WRONG),
    expected: 'INVALID_CREDENTIALS',
    baseline: 'unknown',
    kinds: ['known', 'unverified', 'deactivated', 'taken'],
  },
  {
    name: 'login, locked',
    body: (email) => loginBody(email, WRONG),
    expected: 'ACCOUNT_LOCKED',
    baseline: 'lockedUnknown',
    kinds: ['locked'],
  },
  {
    name: 'login, registered password',
    body: (email) => loginBody(email, REGISTERED),
    expected: 'EMAIL_NOT_VERIFIED',
    baseline: 'unverified',
    kinds: ['taken'],
  },
  {
    name: 'resetPassword, wrong code',
    body: (email) => mutation('resetPassword', { email, code: '123456', newPassword: REGISTERED }),
    expected: 'InvalidTokenError',
    baseline: 'unknown',
    kinds: ['known', 'mailed'],
  },
  {
    name: 'register',
    body: (email) =>
      mutation('register', { email, password: REGISTERED, termsAccepted: true, privacyPolicyAccepted: true }),
    expected: 'RegisterSuccess',
    baseline: 'unknown',
    kinds: EVERY_KIND,
  },
  {
    name: 'requestPasswordReset',
    body: (email) => mutation('requestPasswordReset', { email }),
    expected: 'RequestPasswordResetSuccess',
    baseline: 'unknown',
    kinds: EVERY_KIND,
  },
  {
    name: 'resendVerificationEmail',
    body: (email) => mutation('resendVerificationEmail', { email }),
    expected: 'ResendVerificationEmailSuccess',
    baseline: 'unknown',
    kinds: EVERY_KIND,
  },
]

/**
 * Two-sided Wilcoxon rank-sum (Mann-Whitney) test by the normal approximation. The library ranks ties wrongly: times must
 * not be rounded.
 */
function pValue(a: readonly number[], b: readonly number[]): number {
  const [m, n] = [a.length, b.length]
  const expected = (m * (m + n + 1)) / 2
  const deviation = Math.sqrt((m * n * (m + n + 1)) / 12)
  const z = (wilcoxonRankSum([...a], [...b]) - expected) / deviation
  return 1 - errorFunction(Math.abs(z) / Math.SQRT2)
}

function shuffle<T>(items: T[]): T[] {
  for (let last = items.length - 1; last > 0; last -= 1) {
    const other = randomInt(last + 1)
    ;[items[last], items[other]] = [items[other] as T, items[last] as T]
  }
  return items
}

interface Laboratory {
  port: number
  database: pg.Client
  timer: Helper
  hashes: { account: string; registration: string }
}

async function time(timer: Helper, job: TimingJob): Promise<number[]> {
  const { times, error } = await timer.ask<{ times: number[]; error?: string }>(job)
  if (error) throw new Error(error)
  return times
}

// What the requests have left to the workers, who were at it meanwhile: the next question does not wait for it.
const DROP_BACKLOG = `DELETE FROM jobs.job WHERE name IN ('mail-request', 'send-email') AND state = 'created'`

/** The times of every kind, asked about in random order. */
async function ask(laboratory: Laboratory, question: Question, samples: number): Promise<Map<Kind, number[]>> {
  const { port, database, timer, hashes } = laboratory
  const { body, expected, baseline, kinds } = question
  const all: { kind: Kind; wire: string }[] = []
  for (const kind of [baseline, ...kinds]) {
    for (const email of await createStrangers(database, kind, samples + WARM_UP, hashes)) {
      all.push({ kind, wire: toWire(port, body(email)) })
    }
  }
  // Also so that no row is read for the first time, which takes longer.
  await database.query('VACUUM ANALYZE')
  const warmUp = WARM_UP * (kinds.length + 1)
  const asked = shuffle(all)
  const times = await time(timer, { port, wires: asked.map(({ wire }) => wire), expected })
  await database.query(DROP_BACKLOG)
  const measured = new Map<Kind, number[]>()
  asked.forEach(({ kind }, index) => {
    if (index >= warmUp) measured.set(kind, [...(measured.get(kind) ?? []), times[index] ?? Number.NaN])
  })
  return measured
}

async function compare(laboratory: Laboratory, question: Question, samples: number): Promise<Row[]> {
  const { name, baseline, kinds } = question
  const runs: Map<Kind, number[]>[] = []
  for (let run = 0; run < RUNS; run += 1) runs.push(await ask(laboratory, question, samples))
  const timesOf = (kind: Kind) => runs.map((run) => run.get(kind) ?? [])
  return kinds.map((kind) => {
    const ps = timesOf(kind).map((times, run) => pValue(times, timesOf(baseline)[run] ?? []))
    const [own, other] = [median(timesOf(kind).flat()), median(timesOf(baseline).flat())]
    return {
      name: `${name}: ${kind}`,
      value: own / 1000,
      unit: 'ms',
      baseline: { name: `ms ${baseline}`, value: other / 1000 },
      ratio: own / other,
      target: { text: `median p >= ${MAX_P}`, isMet: median(ps) >= MAX_P },
      note: `p = ${ps.map((p) => p.toPrecision(2)).join(', ')}; ${samples} each`,
    }
  })
}

/** Whether the time of an answer tells who has an account. */
export async function measureOracles(options: Options): Promise<Row[]> {
  const { redisUrl, databaseUrl } = await createStorage()
  const { port } = await startServer(databaseUrl, redisUrl, options, SERVER)
  const database = new pg.Client({ connectionString: databaseUrl })
  await database.connect()
  onCleanup(() => database.end())
  const [account, registration] = await Promise.all([argon2.hash(PASSWORD, HASHING), argon2.hash(REGISTERED, HASHING)])
  const laboratory = { port, database, timer: startHelper('./timing-worker.ts'), hashes: { account, registration } }
  const rows: Row[] = []
  for (const question of QUESTIONS) {
    const compared = await compare(laboratory, question, options.samples)
    for (const { name, note } of compared) console.error(`${name}: ${note}`)
    rows.push(...compared)
  }
  return rows
}

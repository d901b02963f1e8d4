import { type ChildProcess, spawn } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import type { AuditEventType } from '../../src/audit-events.js'
import { createLog } from '../../src/infra/log.js'
import { applyMigrations } from '../../src/infra/migrate.js'
import { connectPostgres } from '../../src/infra/postgres.js'
import { type AuditFilter, createAuditPages } from '../../src/services/audit-pages.js'
import type { AuditRange } from '../../src/services/audit-stretches.js'
import { createOverview } from '../../src/services/overview.js'
import type { Row } from '../report.js'
import { ADD_TO_INBOX, DAYS, FILLED, fillAuditLog } from '../support/audit-log.js'
import { onCleanup } from '../support/cleanup.js'
import { median } from '../support/load.js'
import type { Options } from '../support/options.js'
import { ROOT } from '../support/processes.js'
import { createDatabase } from '../support/storage.js'

const MIGRATIONS = fileURLToPath(new URL('../../prisma/migrations', import.meta.url))
const MAX_PAGE_MS = 50
/** A page of a hundred, and one more to see whether there is another. */
const PAGE = 101
const RANDOM_CASES = 600
const SHOWN = 8
const RETRIED = 100
const REPETITIONS = 9
const SEALS = 20
const EXPORT_HEAP_MB = 128
/** A fifth of the log. */
const EXPORT_DAYS = 72
const DAY_MS = 86_400_000
const OVERVIEWS = [24, 24 * 7, 24 * 90]

interface Case {
  filter: AuditFilter
  range: AuditRange
  order: 'asc' | 'desc'
}

const daysAgo = (days: number) => new Date(Date.now() - days * DAY_MS)
const { users, sessions, addresses, nobody, nowhere } = FILLED
const types = (...names: AuditEventType[]): AuditFilter => ({ types: names })

/** What a filter can ask for, condition by condition, from the most common to what there is not. */
const CONDITIONS: readonly (readonly AuditFilter[])[] = [
  [
    ...[
      types('TOKEN_REFRESHED'),
      types('LOGIN_FAILED', 'LOGIN_SUCCEEDED', 'NEW_DEVICE'),
      types('TOKEN_REUSE_DETECTED'),
    ],
    ...[types('SUSPICIOUS_LOGIN'), types('PASSWORD_FOUND_IN_BREACH')],
  ],
  [{ minRiskLevel: 'MEDIUM' }, { minRiskLevel: 'HIGH' }, { minRiskLevel: 'CRITICAL' }],
  [{ success: true }, { success: false }],
  [
    ...[{ from: daysAgo(2) }, { to: daysAgo(DAYS - 2) }, { from: daysAgo(200), to: daysAgo(20) }],
    ...[
      { from: daysAgo(300.01), to: daysAgo(300) },
      { from: daysAgo(10), to: daysAgo(11) },
    ],
    { from: daysAgo(DAYS + 39), to: daysAgo(DAYS + 1) },
  ],
  [...users, nobody].map((userId) => ({ userId })),
  [...sessions, nobody].map((sessionId) => ({ sessionId })),
  [...addresses, nowhere].map((ipAddress) => ({ ipAddress })),
  [...users, nobody].map((ownerId) => ({ ownerId })),
]

/** The same numbers in every run (mulberry32). */
function createRandom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Every condition alone, every pair, and random combinations: from cursors anywhere, in both directions. */
function casesOf(count: number): Case[] {
  const random = createRandom(1)
  const pick = <T>(list: readonly T[]) => list[Math.floor(random() * list.length)] as T
  const position = () => BigInt(1 + Math.floor(random() * count))
  const cursor = (): AuditRange => pick([{}, { after: position() }, { before: position() }])
  const alone = CONDITIONS.flat()
  const pairs = CONDITIONS.flatMap((first, index) =>
    CONDITIONS.slice(index + 1).flatMap((second) => first.flatMap((one) => second.map((two) => ({ ...one, ...two })))),
  )
  const combined = Array.from({ length: RANDOM_CASES }, () =>
    Object.assign({}, ...CONDITIONS.filter(() => random() < 0.45).map(pick)),
  )
  return [{}, ...alone, ...pairs, ...combined].flatMap((filter: AuditFilter) => [
    { filter, range: {}, order: 'desc' as const },
    { filter, range: cursor(), order: pick(['asc', 'desc'] as const) },
  ])
}

async function timeOf(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now()
  await work()
  return performance.now() - start
}

/** Warm: the first of four does not count. */
async function warmTimeOf(work: () => Promise<unknown>): Promise<number> {
  await work()
  return median([await timeOf(work), await timeOf(work), await timeOf(work)])
}

const describe = ({ filter, range, order }: Case): string =>
  [
    ...Object.entries(filter).map(([name, value]) => `${name}=${value instanceof Date ? value.toISOString() : value}`),
    ...Object.entries(range).map(([name, value]) => `${name}=${value}`),
    order,
  ].join(' ')

/**
 * Every case by the median of three; the slowest then once more, by the median of nine that are far apart: one core that
 * did something else for a moment makes no page slow.
 */
async function measurePages(sql: Parameters<typeof createAuditPages>[0], count: number): Promise<Row[]> {
  const { page } = createAuditPages(sql)
  const read = ({ filter, range, order }: Case) => page(filter, range, PAGE, order)
  const first: { each: Case; ms: number }[] = []
  for (const each of casesOf(count)) first.push({ each, ms: await warmTimeOf(() => read(each)) })
  first.sort((one, other) => other.ms - one.ms)
  const again = first.slice(0, RETRIED).map(({ each }) => ({ each, times: [] as number[] }))
  for (let repetition = 0; repetition < REPETITIONS; repetition += 1) {
    for (const { each, times } of again) times.push(await timeOf(() => read(each)))
  }
  const slowest = again.map(({ each, times }) => ({ each, ms: median(times) })).sort((one, other) => other.ms - one.ms)
  const [worst] = slowest
  if (!worst) throw new Error('There are no cases')
  const row = (name: string, value: number, note: string): Row => ({
    ...{ name: `page of the audit log, ${name}`, value, unit: 'ms', note },
  })
  return [
    row('median', median(first.map(({ ms }) => ms)), `${first.length} filters and cursors`),
    {
      ...row('slowest', worst.ms, describe(worst.each)),
      target: { text: `< ${MAX_PAGE_MS} ms`, isMet: worst.ms < MAX_PAGE_MS },
    },
    ...slowest.slice(1, SHOWN).map(({ each, ms }, index) => row(`${index + 2}. slowest`, ms, describe(each))),
  ]
}

async function measureSeal(client: pg.Client, count: number): Promise<Row> {
  const times: number[] = []
  for (let round = 0; round < SEALS; round += 1) {
    await client.query(ADD_TO_INBOX, [count])
    times.push(await timeOf(() => client.query('SELECT seal_audit_events(1000)')))
  }
  return { name: 'sealing 1,000 events', value: median(times), unit: 'ms', note: 'of users and addresses at random' }
}

/** The most memory that a process has had, by what Linux keeps; 0 elsewhere. */
async function peakOf({ pid }: ChildProcess): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '')
  return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? 0) / 1000
}

/** Exports a million events with a heap that could not hold them. */
async function measureExport(databaseUrl: string, format: string): Promise<Row[]> {
  const args = ['dist/cli.js', 'audit', 'export', '--format', format, '--since', `${EXPORT_DAYS}d`]
  const env = { PATH: process.env.PATH, DATABASE_URL: databaseUrl, SECRET_KEY: 'only-for-measuring'.repeat(4) }
  const start = performance.now()
  const child = spawn(process.execPath, [`--max-old-space-size=${EXPORT_HEAP_MB}`, ...args], {
    ...{ cwd: ROOT, env, stdio: ['ignore', 'pipe', 'inherit'] },
  })
  onCleanup(() => child.kill())
  let [bytes, peak, chunks] = [0, 0, 0]
  for await (const chunk of child.stdout) {
    bytes += chunk.length
    chunks += 1
    if (chunks % 100 === 0) peak = Math.max(peak, await peakOf(child))
  }
  if (child.exitCode !== 0) await new Promise((resolve) => child.once('exit', resolve))
  if (child.exitCode !== 0) throw new Error(`The export ended with ${child.exitCode}`)
  const seconds = (performance.now() - start) / 1000
  return [
    {
      name: `export as ${format}`,
      value: seconds,
      unit: 's',
      note: `${(bytes / 1e6).toFixed(0)} MB of ${EXPORT_DAYS} days`,
    },
    { name: `its memory`, value: peak, unit: 'MB', note: `with a heap of ${EXPORT_HEAP_MB} MB` },
  ]
}

/** The audit log at size: five million events, in a database of its own. */
export async function measureAudit({ only, isQuick }: Options): Promise<Row[]> {
  if (!only.has('audit')) return []
  const count = isQuick ? 200_000 : 5_000_000
  const url = await createDatabase(process.env.BENCH_DATABASE_URL ?? 'postgresql://postgres@127.0.0.1:5432/postgres')
  const log = createLog({ level: 'warn', format: 'json' })
  const db = connectPostgres({ url, poolSize: 4, log, onQuery: () => {} })
  const client = new pg.Client({ connectionString: url })
  onCleanup(() => Promise.all([db.close(), client.end()]))
  await applyMigrations({ url, directory: MIGRATIONS, log })
  await client.connect()
  const fillMs = await timeOf(() => fillAuditLog(client, count))
  const overview = createOverview({ db, clock: { now: () => new Date() }, idleTimeoutMs: DAY_MS })
  const rows: Row[] = [{ name: 'filling the audit log', value: fillMs / 1000, unit: 's', note: `${count} events` }]
  rows.push(...(await measurePages(db.sql, count)))
  for (const hours of OVERVIEWS) {
    const value = await warmTimeOf(() => overview(hours))
    rows.push({ name: `security overview of ${hours / 24} days`, value, unit: 'ms' })
  }
  rows.push(await measureSeal(client, count))
  for (const format of ['ndjson', 'csv']) rows.push(...(await measureExport(url, format)))
  return rows
}

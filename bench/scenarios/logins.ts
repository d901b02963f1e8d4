import { setTimeout as sleep } from 'node:timers/promises'
import type { Row } from '../report.js'
import { PASSWORD } from '../support/accounts.js'
import { readMetrics } from '../support/api.js'
import type { Environment } from '../support/environment.js'
import { type LoadJob, median } from '../support/load.js'
import { assertGood, meJob } from './throughput.js'

const CONNECTIONS = 8
const CONNECTIONS_MEANWHILE = 32
const WARM_UP_MS = 4000
const AT_ONCE = 500
/** Enough to see every hitch, and not so much that the logins would wait for it. */
const PAUSE_MS = 10
const MAX_P99_MS = 50
/** More than the queue takes, so that it stays full, but few enough refusals that they are not what takes the time. */
const CROWD = 1000
const CROWD_PAUSE_MS = 1000
const PROBES = 32
const REFUSAL_MS = 5000

export const loginJob = ({ port, accounts }: Environment, connections: number): LoadJob => ({
  port,
  connections,
  requests: { kind: 'fixed', wires: accounts.loginWires },
  outcomes: { ok: '"LoginSuccess"', refused: '"SERVICE_UNAVAILABLE"' },
})

/** Logins per second against verifications per second without anything around them, in turns. */
async function measureLogins(environment: Environment): Promise<Row[]> {
  const { options, argon2, accounts, load, origin } = environment
  const ms = options.isQuick ? 2500 : 4000
  const hashes: { perSecond: number; cpuMs: number }[] = []
  const logins: { perSecond: number; cpuMs: number; p99: number }[] = []
  const question = { hash: accounts.passwordHash, password: PASSWORD }
  await load({ ...loginJob(environment, CONNECTIONS), ms: WARM_UP_MS })
  for (let round = 0; round < (options.isQuick ? 2 : 4); round += 1) {
    hashes.push(await argon2.ask({ ...question, ms }))
    const before = (await readMetrics(origin))('process_cpu_seconds_total')
    const result = await load({ ...loginJob(environment, CONNECTIONS), ms })
    assertGood('login', result)
    const seconds = (await readMetrics(origin))('process_cpu_seconds_total') - before
    logins.push({ perSecond: result.perSecond, p99: result.p99, cpuMs: (seconds * 1000) / result.answered })
  }
  const ratio = median(logins.map(({ perSecond }, round) => perSecond / (hashes[round]?.perSecond ?? Number.NaN)))
  const [cpuMs, bareCpuMs] = [logins, hashes].map((each) => median(each.map((one) => one.cpuMs)).toFixed(1))
  return [
    {
      name: `login, ${CONNECTIONS} connections`,
      value: median(logins.map((each) => each.perSecond)),
      unit: '/s',
      baseline: { name: '/s bare argon2id', value: median(hashes.map((each) => each.perSecond)) },
      ratio,
      target: { text: '>= 0.90x', isMet: ratio >= 0.9 },
      note: `p99 ${median(logins.map((each) => each.p99)).toFixed(0)} ms, ${cpuMs} ms of CPU each, a bare hash ${bareCpuMs} ms`,
    },
  ]
}

/** How long others wait while the machine is busy with passwords. */
async function measureMixed(environment: Environment): Promise<Row[]> {
  const { options, load, otherLoad } = environment
  const ms = options.isQuick ? 4000 : 8000
  const [logins, me] = await Promise.all([
    otherLoad({ ...loginJob(environment, CONNECTIONS_MEANWHILE), ms }),
    load({ ...meJob(environment), pauseMs: PAUSE_MS, ms }),
  ])
  assertGood('login', logins)
  assertGood('me', me)
  return [
    {
      name: `me p99 while ${CONNECTIONS_MEANWHILE} log in`,
      value: me.p99,
      unit: 'ms',
      target: { text: `< ${MAX_P99_MS} ms`, isMet: me.p99 < MAX_P99_MS },
      note: `${me.perSecond.toFixed(0)} me/s, p50 ${me.p50.toFixed(1)} ms, max ${me.max.toFixed(0)} ms; ${logins.perSecond.toFixed(0)} logins/s`,
    },
  ]
}

/** More logins at once than the queue takes: each is answered, if only by being refused. */
async function measureBurst(environment: Environment): Promise<Row[]> {
  const { load, otherLoad } = environment
  const [burst, me] = await Promise.all([
    otherLoad({ ...loginJob(environment, AT_ONCE), count: AT_ONCE }),
    load({ ...meJob(environment), pauseMs: PAUSE_MS, ms: 5000 }),
  ])
  const { ok = 0, refused = 0 } = burst.outcomes
  return [
    {
      name: `${AT_ONCE} logins at once, answered`,
      value: ok + refused,
      unit: '',
      target: { text: `= ${AT_ONCE}`, isMet: ok > 0 && ok + refused === AT_ONCE },
      note: `${ok} signed in, ${refused} told to come back, ${burst.lost} lost; the last after ${(burst.max / 1000).toFixed(1)} s${burst.sample ? `; ${burst.sample}` : ''}`,
    },
    {
      name: 'me p99 meanwhile',
      value: me.p99,
      unit: 'ms',
      note: `p50 ${me.p50.toFixed(1)} ms, max ${me.max.toFixed(0)} ms; over 5 s from the burst on`,
    },
  ]
}

/** How long the refusal of a login takes while the queue is full, and is kept so. */
async function measureRefusals(environment: Environment): Promise<Row[]> {
  const { load, otherLoad } = environment
  // Accounts of their own: logins to one account take turns, and would keep the probes from the queue.
  const { loginWires } = environment.accounts
  const [own, others] = [loginWires.slice(0, PROBES), loginWires.slice(PROBES)]
  const job = (connections: number, wires: string[]): LoadJob => ({
    ...loginJob(environment, connections),
    ...{ requests: { kind: 'fixed', wires }, ms: REFUSAL_MS },
  })
  const crowd = otherLoad({ ...job(CROWD, others), pauseMs: CROWD_PAUSE_MS })
  await sleep(CROWD_PAUSE_MS)
  const [, probe] = await Promise.all([crowd, load({ ...job(PROBES, own), pauseMs: PAUSE_MS })])
  const { ok = 0, refused = 0 } = probe.outcomes
  const p99 = probe.p99Of.refused ?? Number.NaN
  return [
    {
      name: 'p99 of logins refused by a full queue',
      value: p99,
      unit: 'ms',
      target: { text: `< ${MAX_P99_MS} ms`, isMet: p99 < MAX_P99_MS },
      note: `${refused} refused, ${ok} signed in, while ${CROWD} others kept the queue full`,
    },
  ]
}

export async function measureAllLogins(environment: Environment): Promise<Row[]> {
  const { only } = environment.options
  return [
    ...(only.has('login') ? await measureLogins(environment) : []),
    ...(only.has('mixed') ? await measureMixed(environment) : []),
    ...(only.has('burst') ? [...(await measureBurst(environment)), ...(await measureRefusals(environment))] : []),
  ]
}

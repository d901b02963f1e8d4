import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import type { Row } from '../report.js'
import { onCleanup } from '../support/cleanup.js'
import type { Environment } from '../support/environment.js'
import { median } from '../support/load.js'
import { assertGood, refreshJob } from './throughput.js'

/** The lock that `seal_audit_events()` takes: whoever holds it keeps everybody from sealing. */
const LOCK = 'SELECT pg_advisory_lock(7270736901)'
const UNLOCK = 'SELECT pg_advisory_unlock(7270736901)'
const WAITING = 'SELECT count(*)::int AS count FROM audit_inbox'
/** So many chains, each with a pause: some 400 refreshes a second, which leaves the machine room. */
const PAUSE_MS = 38
/** Shorter than a statement may wait for the lock. */
const MS = 5000
const MAX_RATIO = 1.05

/** What a refresh takes while its events are sealed, against the same while they only wait; in turns. */
export async function measureSealing(environment: Environment): Promise<Row[]> {
  const { options, databaseUrl, accounts, load } = environment
  if (!options.only.has('sealing')) return []
  const database = new pg.Client({ connectionString: databaseUrl })
  await database.connect()
  onCleanup(() => database.end())

  async function refreshTime(): Promise<number> {
    const result = await load({ ...refreshJob(environment), pauseMs: PAUSE_MS, ms: MS })
    assertGood('refresh', result)
    accounts.refreshTokens = result.tokens
    return result.p50
  }

  const rounds: { sealed: number; waiting: number }[] = []
  await refreshTime()
  for (let round = 0; round < (options.isQuick ? 2 : 6); round += 1) {
    await database.query(LOCK)
    const waiting = await refreshTime()
    await database.query(UNLOCK)
    while ((await database.query(WAITING)).rows[0].count > 0) await sleep(100)
    rounds.push({ waiting, sealed: await refreshTime() })
  }
  const ratio = median(rounds.map(({ sealed, waiting }) => sealed / waiting))
  return [
    {
      name: 'refresh while its events are sealed, p50',
      value: median(rounds.map(({ sealed }) => sealed)),
      unit: 'ms',
      baseline: { name: 'ms unsealed', value: median(rounds.map(({ waiting }) => waiting)) },
      ratio,
      target: { text: `< ${MAX_RATIO}x`, isMet: ratio < MAX_RATIO },
    },
  ]
}

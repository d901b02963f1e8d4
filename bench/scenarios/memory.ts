import type { Row } from '../report.js'
import { readMetrics } from '../support/api.js'
import type { Environment } from '../support/environment.js'
import { median } from '../support/load.js'
import { assertGood, meJob } from './throughput.js'

const STEPS = 40
const MAX_RSS = 300
const MAX_GROWTH = 10
const MB = 1_000_000

/** Memory of the server over many requests, sampled so often that the saw of the garbage collector evens out. */
export async function measureMemory(environment: Environment): Promise<Row[]> {
  const { origin, load, options } = environment
  if (!options.only.has('memory')) return []
  const count = options.isQuick ? 20_000 : 100_000
  const samples: number[] = []
  for (let step = 0; step < STEPS; step += 1) {
    assertGood('me', await load({ ...meJob(environment), count: count / STEPS }))
    samples.push((await readMetrics(origin))('process_resident_memory_bytes') / MB)
  }
  const around = (share: number) => median(samples.slice(STEPS * (share - 0.125), STEPS * (share + 0.125)))
  const growth = median(samples.slice(-STEPS / 4)) - around(0.5)
  const rss = samples.at(-1) ?? Number.NaN
  return [
    {
      name: `memory after ${count.toLocaleString('en')} me`,
      value: rss,
      unit: 'MB',
      target: { text: `< ${MAX_RSS} MB`, isMet: rss < MAX_RSS },
      note: `between ${Math.min(...samples).toFixed(0)} and ${Math.max(...samples).toFixed(0)} MB`,
    },
    {
      name: 'its growth over the last half',
      value: growth,
      unit: 'MB',
      target: { text: `<= ${MAX_GROWTH} MB`, isMet: growth <= MAX_GROWTH },
      note: 'median of the last quarter against that around the half',
    },
  ]
}

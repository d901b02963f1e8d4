import { parseArgs } from 'node:util'

const USUAL = [
  'me',
  'refresh',
  'sessions',
  'login',
  'mixed',
  'burst',
  'sealing',
  'queries',
  'page',
  'memory',
  'streams',
] as const
export const SCENARIOS = [...USUAL, 'oracle', 'audit', 'chain'] as const
export type ScenarioName = (typeof SCENARIOS)[number]

export interface Options {
  only: ReadonlySet<ScenarioName>
  /** Fewer rounds and requests: for a look, not for a record. */
  isQuick: boolean
  hasProfile: boolean
  isJson: boolean
  /** Of each operation on each kind of account, in each run of `oracle`. */
  samples: number
}

const SAMPLES = 1000
const QUICK_SAMPLES = 200

export const USAGE = `npm run bench -- [--only ${SCENARIOS.join(',')}] [--quick] [--profile] [--json] [--samples ${SAMPLES}]
  Without --only: everything but what takes minutes: oracle (whether times tell who has an account), audit (five million events), chain (a million that are verified).
  BENCH_DATABASE_URL  where a database may be created and dropped  (postgresql://postgres@127.0.0.1:5432/postgres)
  BENCH_REDIS_URL     a numbered database that may be flushed      (redis://127.0.0.1:6379/9)`

const isScenario = (name: string): name is ScenarioName => (SCENARIOS as readonly string[]).includes(name)

/** Reads the command line. Throws an error that says what is wrong with it. */
export function readOptions(argv: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      only: { type: 'string', default: USUAL.join(',') },
      quick: { type: 'boolean', default: false },
      profile: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      samples: { type: 'string' },
    },
  })
  const names = values.only.split(',').map((name) => name.trim())
  const unknown = names.filter((name) => !isScenario(name))
  if (unknown.length > 0) throw new Error(`There is no part named ${unknown.join(', ')}.`)
  const samples = Number(values.samples ?? (values.quick ? QUICK_SAMPLES : SAMPLES))
  if (!Number.isInteger(samples) || samples < 10) throw new Error('--samples takes a number from 10 on.')
  return {
    samples,
    only: new Set(names.filter(isScenario)),
    isQuick: values.quick,
    hasProfile: values.profile,
    isJson: values.json,
  }
}

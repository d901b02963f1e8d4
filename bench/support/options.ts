import { parseArgs } from 'node:util'

export const SCENARIOS = ['me', 'refresh', 'sessions', 'login', 'mixed', 'burst', 'queries', 'page', 'memory'] as const
export type ScenarioName = (typeof SCENARIOS)[number]

export interface Options {
  only: ReadonlySet<ScenarioName>
  /** Fewer rounds and requests: for a look, not for a record. */
  isQuick: boolean
  hasProfile: boolean
  isJson: boolean
}

export const USAGE = `npm run bench -- [--only ${SCENARIOS.join(',')}] [--quick] [--profile] [--json]
  BENCH_DATABASE_URL  where a database may be created and dropped  (postgresql://postgres@127.0.0.1:5432/postgres)
  BENCH_REDIS_URL     a numbered database that may be flushed      (redis://127.0.0.1:6379/9)`

const isScenario = (name: string): name is ScenarioName => (SCENARIOS as readonly string[]).includes(name)

/** Reads the command line. Throws an error that says what is wrong with it. */
export function readOptions(argv: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      only: { type: 'string', default: SCENARIOS.join(',') },
      quick: { type: 'boolean', default: false },
      profile: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
    },
  })
  const names = values.only.split(',').map((name) => name.trim())
  const unknown = names.filter((name) => !isScenario(name))
  if (unknown.length > 0) throw new Error(`There is no part named ${unknown.join(', ')}.`)
  return {
    only: new Set(names.filter(isScenario)),
    isQuick: values.quick,
    hasProfile: values.profile,
    isJson: values.json,
  }
}

import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { summarize } from '../profile.js'
import type { Environment } from '../support/environment.js'
import type { LoadJob } from '../support/load.js'
import { profileDuring } from '../support/profiler.js'
import { loginJob } from './logins.js'
import { meJob, refreshJob, sessionsJob } from './throughput.js'

const DIRECTORY = fileURLToPath(new URL('../.profiles/', import.meta.url))
const WARM_UP_MS = 2000
const MS = 5000

const JOBS = {
  me: meJob,
  refresh: refreshJob,
  sessions: sessionsJob,
  login: (environment: Environment) => loginJob(environment, 8),
} satisfies Record<string, (environment: Environment) => LoadJob>

/** One profile for each hot path, taken when everything has been measured. Returns where their time went. */
export async function profileAll(environment: Environment): Promise<string> {
  const { options, inspectorPort, accounts, load } = environment
  const summaries: string[] = []
  await mkdir(DIRECTORY, { recursive: true })
  for (const name of ['me', 'refresh', 'sessions', 'login'] as const) {
    if (!options.only.has(name)) continue
    const run = async (ms: number) => {
      const result = await load({ ...JOBS[name](environment), ms })
      if (name === 'refresh') accounts.refreshTokens = result.tokens
      return result.answered
    }
    await run(WARM_UP_MS)
    let answered = 0
    const profile = await profileDuring(inspectorPort, async () => {
      answered = await run(MS)
    })
    const file = join(DIRECTORY, `${name}.cpuprofile`)
    await writeFile(file, JSON.stringify(profile))
    summaries.push(`# ${name}: ${answered} requests in ${MS / 1000} s\n${summarize(profile, answered)}`)
  }
  return summaries.join('\n\n')
}

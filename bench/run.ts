import { type Row, toTable } from './report.js'
import { measureAudit } from './scenarios/audit.js'
import { measureChain } from './scenarios/chain.js'
import { measureAllLogins } from './scenarios/logins.js'
import { measureMemory } from './scenarios/memory.js'
import { measureOracles } from './scenarios/oracle.js'
import { profileAll } from './scenarios/profiles.js'
import { measureQueries } from './scenarios/queries.js'
import { measureSealing } from './scenarios/sealing.js'
import { measureStreams } from './scenarios/streams.js'
import { measureThroughput } from './scenarios/throughput.js'
import { cleanUp, isCleaningUp } from './support/cleanup.js'
import { createEnvironment } from './support/environment.js'
import { type Options, readOptions, USAGE } from './support/options.js'

function optionsOrUsage(): Options {
  try {
    return readOptions(process.argv.slice(2))
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : error}\n\n${USAGE}`)
    process.exit(2)
  }
}

/** What needs no server. */
const ALONE: ReadonlySet<string> = new Set(['audit', 'chain'])

async function measureAll(options: Options): Promise<{ rows: Row[]; profiles: string }> {
  // Against a server of its own.
  if (options.only.has('oracle')) return { rows: await measureOracles(options), profiles: '' }
  // By themselves: they would weigh on what is measured with a server.
  const rows = [...(await measureAudit(options)), ...(await measureChain(options))]
  if ([...options.only].every((name) => ALONE.has(name))) return { rows, profiles: '' }
  const environment = await createEnvironment(options)
  // Memory after them: it shows what all the rest has left behind.
  const scenarios = [measureThroughput, measureAllLogins, measureSealing, measureQueries, measureMemory, measureStreams]
  for (const measure of scenarios) rows.push(...(await measure(environment)))
  return { rows, profiles: options.hasProfile ? await profileAll(environment) : '' }
}

const options = optionsOrUsage()
let isFailed = true
try {
  const { rows, profiles } = await measureAll(options)
  console.log(options.isJson ? JSON.stringify(rows, null, 2) : toTable(rows))
  if (profiles && !options.isJson)
    console.log(`
${profiles}`)
  isFailed = rows.some(({ target }) => target && !target.isMet)
} catch (error) {
  // After Ctrl-C, whatever still ran fails.
  if (!isCleaningUp()) console.error(error)
} finally {
  await cleanUp()
}
process.exit(isFailed ? 1 : 0)

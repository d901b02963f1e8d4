import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'

const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5]
const NAME = 'portcullis_'

/** What is the same for all servers of a process, and measured until it ends. */
const processMetrics = new Registry()
collectDefaultMetrics({ register: processMetrics })

/** Remembers what the function gives for two short texts. */
function memoize<T>(find: (first: string, second: string) => T): (first: string, second: string) => T {
  const found = new Map<string, T>()
  return (first, second) => {
    const key = `${first} ${second}`
    const known = found.get(key)
    if (known) return known
    const value = find(first, second)
    found.set(key, value)
    return value
  }
}

/**
 * Everything that `/metrics` shows of a server, in a registry of its own. Label values must come from small sets: give a
 * route, never the path that a client asked for, and a root field of the schema, never a name from a document.
 */
export function createMetrics() {
  const registry = new Registry()
  const registers = [registry]

  const httpSeconds = new Histogram({
    name: `${NAME}http_request_duration_seconds`,
    help: 'Time to the end of the response, by route and status.',
    labelNames: ['path', 'status'],
    buckets: SECONDS,
    registers,
  })
  const operations = new Counter({
    name: `${NAME}graphql_operations_total`,
    help: 'Calls of root fields, by outcome: OK or the code of the error.',
    labelNames: ['field', 'code'],
    registers,
  })
  const operationSeconds = new Histogram({
    name: `${NAME}graphql_operation_duration_seconds`,
    help: 'Time that a call of a root field took.',
    labelNames: ['field'],
    buckets: SECONDS,
    registers,
  })
  const cacheReads = new Counter({
    name: `${NAME}cache_reads_total`,
    help: 'Keys looked up in the shared cache.',
    labelNames: ['result'],
    registers,
  })
  const databaseQueries = new Counter({
    name: `${NAME}database_queries_total`,
    help: 'Statements sent to PostgreSQL.',
    registers,
  })

  // Found once for each combination of labels: looking it up costs more than counting.
  const secondsOf = memoize((path: string, status: string) => httpSeconds.labels(path, status))
  const operationsOf = memoize((field: string, code: string) => operations.labels(field, code))
  const operationSecondsOf = memoize((field: string) => operationSeconds.labels(field))
  const [cacheHits, cacheMisses] = [cacheReads.labels('hit'), cacheReads.labels('miss')]

  return {
    httpRequest: (path: string, status: number, seconds: number) => secondsOf(path, String(status)).observe(seconds),
    /** `code` is `OK` or the code of the error. */
    operation: (field: string, code: string, seconds: number) => {
      operationsOf(field, code).inc()
      operationSecondsOf(field, '').observe(seconds)
    },
    /** Fits `onRead` of the caches. */
    cacheRead: (hits: number, misses: number) => {
      cacheHits.inc(hits)
      cacheMisses.inc(misses)
    },
    databaseQuery: () => databaseQueries.inc(),
    /** Registers a gauge that is read when the metrics are rendered, e.g. the depth of the hashing queue. */
    watch: (name: string, help: string, read: () => number) => {
      new Gauge({
        name: NAME + name,
        help,
        registers,
        collect() {
          this.set(read())
        },
      })
    },
    /** The text exposition format. What the process is measured by comes before what the server is. */
    render: async () => ({
      contentType: registry.contentType,
      body: await Registry.merge([processMetrics, registry]).metrics(),
    }),
  }
}

// What a database has to be before anything is written to it.
import pg from 'pg'
import { DatabaseProblem } from './database-problems.js'

/** SQL_ASCII stores the bytes of UTF-8 as they come, and gives them back. */
const ENCODINGS: readonly string[] = ['UTF8', 'SQL_ASCII']
const SCHEMA = 'public'
/** Once finds a pooler that nobody else uses: what was given back last is handed out first. */
const PROBES = 5
const PROBE_TIMEOUT_MS = 5_000

const INSPECTION = `
  SELECT current_setting('server_encoding') AS encoding, current_schema() AS schema,
    current_setting('transaction_read_only')::boolean AS "isReadOnly"`

interface Findings {
  encoding: string
  schema: string | null
  isReadOnly: boolean
}

/** Throws with what is to be done. */
export async function inspectDatabase(client: pg.Client, url: string): Promise<void> {
  await refuseTransactionPooling(client, url)
  const [findings] = (await client.query<Findings>(INSPECTION)).rows
  const problem = findings && problemOf(findings, new URL(url).searchParams.get('schema'))
  if (problem) throw new DatabaseProblem(`The database of DATABASE_URL cannot be used: ${problem}`)
}

function problemOf({ encoding, schema, isReadOnly }: Findings, wanted: string | null): string | null {
  if (isReadOnly)
    return 'it takes no writes (transaction_read_only is on). It is a standby, or default_transaction_read_only is set'
  if (!ENCODINGS.includes(encoding))
    return `its encoding is ${encoding}, which has not all letters: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0`
  if (wanted !== null && wanted !== SCHEMA)
    return `the tables are in the schema ${SCHEMA}, and nowhere else: remove schema=${wanted}, and use a database of its own`
  if (schema !== SCHEMA)
    return (
      `the tables are in the schema ${SCHEMA}, and nowhere else, but search_path leads to ${schema ?? 'no schema'}: use a database of ` +
      `its own, ALTER ROLE … SET search_path = ${SCHEMA}, and GRANT USAGE, CREATE ON SCHEMA ${SCHEMA} TO the role`
    )
  return null
}

async function backendOf(client: pg.Client): Promise<number | undefined> {
  return (await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')).rows[0]?.pid
}

/**
 * Two connections have each a backend of its own for as long as they are open, unless a pooler hands backends out by the
 * transaction: then what is set, locked or prepared on one is another client's.
 */
async function refuseTransactionPooling(client: pg.Client, url: string): Promise<void> {
  const ours = await backendOf(client)
  // As the server itself has introduced it: nobody is in between.
  if (ours === (client as pg.Client & { processID?: number }).processID) return
  const other = new pg.Client({
    connectionString: url,
    connectionTimeoutMillis: PROBE_TIMEOUT_MS,
    query_timeout: PROBE_TIMEOUT_MS,
  })
  // A lost connection also fails the statement that waits for it; unheard, the event would end the process.
  other.on('error', () => undefined)
  try {
    await other.connect()
    for (let probe = 0; probe < PROBES; probe += 1) {
      await other.query('BEGIN')
      if ((await backendOf(other)) === ours || (await backendOf(client)) !== ours)
        throw new DatabaseProblem(
          'The database of DATABASE_URL cannot be used: a pooler hands out its connections by the transaction. It needs session pooling ' +
            '(PgBouncer: pool_mode = session), or a connection past the pooler',
        )
      await other.query('ROLLBACK')
    }
  } finally {
    await other.end()
  }
}

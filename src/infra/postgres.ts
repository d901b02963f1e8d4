import { createHash, randomInt } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { PrismaPg } from '@prisma/adapter-pg'
import pg from 'pg'
import { type Prisma, PrismaClient } from '../generated/prisma/client.js'
import type { Log, Sql } from '../ports.js'
import { sessionSettings } from './postgres-session.js'

const STATEMENT_TIMEOUT_MS = 10_000
/** Past what the server itself ends: then it, or what lies between, has gone silent. */
const ANSWER_TIMEOUT_MS = STATEMENT_TIMEOUT_MS + 2_000
const REACHABLE_MS = 3_000
const LOCK_TIMEOUT_MS = 5_000
const CONNECT_TIMEOUT_MS = 5_000
const DISCONNECT_PATIENCE_MS = 1_000
const { query } = pg.Client.prototype
const SETTINGS = {
  text: sessionSettings({
    statement_timeout: STATEMENT_TIMEOUT_MS,
    lock_timeout: LOCK_TIMEOUT_MS,
    idle_in_transaction_session_timeout: STATEMENT_TIMEOUT_MS,
    // Every statement has its index. A table that was small when PostgreSQL last counted would be read whole, row after dead
    // row, until it counts again; and to compile a plan takes longer than to go through it.
    enable_seqscan: 'off',
    jit: 'off',
  }),
  query_timeout: CONNECT_TIMEOUT_MS,
}
/** Fails, by a code that ends the connection, where writes would. */
const EXPECT_WRITABLE = `DO $$ BEGIN
  IF current_setting('transaction_read_only')::boolean THEN RAISE read_only_sql_transaction; END IF;
END $$`
const TRANSACTION = { maxWait: 5_000, timeout: 10_000 }
const ATTEMPTS = 4

/** Serialization failure, deadlock, and Prisma's name for both. */
const RETRYABLE = new Set(['40001', '40P01', 'P2034'])
/** The database is away, overloaded, has no room for more or gives no connection: Prisma's codes, PostgreSQL's, and the socket's. */
const UNAVAILABLE =
  /^(P1001|P1002|P1008|P1017|P2024|P2028|08...|25006|28...|3D000|57014|57P0.|53...|55P03|ECONN\w+|EPIPE|ETIMEDOUT|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH)$/
/** It takes no writes: a standby, which a failover has left us with. */
const READ_ONLY = '25006'
/** It took too long, by itself or with its transaction, or more than it may. */
const STATEMENT_ENDED = /^(57014|53200|53400|55P03|P2024|P2028)$/
const UNAVAILABLE_MESSAGE =
  /connection terminated|timeout exceeded when trying to connect|client has encountered a connection error|can't reach database server|server closed the connection|unable to start a transaction|query read timeout|connect ENOENT|not currently accepting connections/i

/** The codes of an error and of what caused it. */
export function codesOf(error: unknown): string[] {
  if (!(error instanceof Error)) return []
  const { code, meta, cause } = error as Error & {
    code?: unknown
    meta?: { code?: unknown; driverAdapterError?: unknown }
  }
  const originalCode = (cause as { originalCode?: unknown } | undefined)?.originalCode
  const own = [code, meta?.code, originalCode].filter((value) => typeof value === 'string')
  return [...own, ...codesOf(cause), ...codesOf(meta?.driverAdapterError)]
}

/** Whether the error says that the database is away, rather than that a statement was wrong. */
export function isDatabaseUnavailable(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  const isSelf = codesOf(error).some((code) => UNAVAILABLE.test(code)) || UNAVAILABLE_MESSAGE.test(error.message)
  return isSelf || isDatabaseUnavailable(error.cause)
}

const isSilence = (error: unknown) => error instanceof Error && error.message === 'Query read timeout'

/** Whether the connection was lost, or there was none: no fault of the statement, however often it happens. */
const isConnectionLost = (error: unknown): boolean =>
  isDatabaseUnavailable(error) && !codesOf(error).some((code) => STATEMENT_ENDED.test(code))

async function withRetries<T>(work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work()
    } catch (error) {
      if (attempt === ATTEMPTS || !codesOf(error).some((code) => RETRYABLE.has(code))) throw error
      await sleep(randomInt(5, 25) * 2 ** attempt)
    }
  }
}

/** Times as V8 reads them: the driver's own reading of them takes three times as long. */
const types = {
  getTypeParser: (oid: number, format?: 'text' | 'binary') =>
    oid === pg.types.builtins.TIMESTAMPTZ && format !== 'binary'
      ? (text: string) => new Date(text)
      : pg.types.getTypeParser(oid, format as 'text'),
} as pg.CustomTypesConfig

/** Statements are prepared under a name of their own, once on each connection; one that a deadlock has undone is repeated. */
function createSql(pool: pg.Pool): Sql {
  const names = new Map<string, string>()
  /** The same in every process: where a pooler hands on a connection, one name never stands for two statements. */
  const nameOf = (text: string) => {
    const name = names.get(text) ?? `portcullis_${createHash('sha256').update(text).digest('base64url')}`
    names.set(text, name)
    return name
  }
  return async <Row>(text: string, values: readonly unknown[]) => {
    const statement = { name: nameOf(text), text, values: [...values], types }
    return (await withRetries(() => pool.query(statement))).rows as Row[]
  }
}

/** A pool ends before its connections do; a database that stops meanwhile would complain of each. */
function disconnectedFrom(pool: pg.Pool): Promise<void> {
  let open = pool.totalCount
  if (open === 0) return Promise.resolve()
  return new Promise((resolve) => {
    pool.on('remove', () => {
      open -= 1
      if (open === 0) resolve()
    })
  })
}

export interface PostgresOptions {
  url: string
  poolSize: number
  log: Log
  onQuery: () => void
}

/** PostgreSQL through one pool, shared by Prisma and by the prepared statements of the hot paths. */
export function connectPostgres({ url, poolSize, log, onQuery }: PostgresOptions) {
  class CountingClient extends pg.Client {
    // biome-ignore lint/suspicious/noExplicitAny: the overloads of pg's query cannot be spelled out here
    override query(...args: any[]): any {
      onQuery()
      const result = (super.query as (...all: unknown[]) => unknown)(...args)
      // Back in the pool, a connection that is silent would keep the next ones waiting, and one to a standby refuse them.
      if (result instanceof Promise)
        result.catch((error) => {
          if (isSilence(error) || error.code === READ_ONLY) this.end().catch(() => {})
        })
      return result
    }
  }
  const pool = new pg.Pool({
    connectionString: url,
    max: poolSize,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    query_timeout: ANSWER_TIMEOUT_MS,
    application_name: 'portcullis',
    keepAlive: true,
    Client: CountingClient,
    // Past the count: no request asks for it.
    onConnect: (client) => Reflect.apply(query, client, [SETTINGS]),
  })
  // One that breaks while it is handed from one to the next has no other listener. Whoever uses it hears by his statement.
  pool.on('connect', (client) => client.on('error', () => undefined))
  // An idle connection that breaks is replaced by the next query; unheard, the event would end the process.
  pool.on('error', (error) => log.warn({ err: error }, 'An idle database connection was lost'))
  const prisma = new PrismaClient({ adapter: new PrismaPg(pool) })
  const sql = createSql(pool)

  return {
    pool,
    prisma,
    sql,
    afterCommit: async (effect: () => Promise<void> | void) => effect(),

    transaction: async <T>(work: (tx: Transaction) => Promise<T>): Promise<T> => {
      const { result, effects } = await withRetries(async () => {
        const effects: (() => Promise<void> | void)[] = []
        const result = await prisma.$transaction((client) => work(transactionOn(client, effects)), TRANSACTION)
        return { result, effects }
      })
      for (const effect of effects) await effect()
      return result
    },

    isConnectionLost,

    isReachable: async (): Promise<boolean> => {
      try {
        await pool.query({ text: EXPECT_WRITABLE, query_timeout: REACHABLE_MS } as pg.QueryConfig)
        return true
      } catch {
        return false
      }
    },

    close: async (): Promise<void> => {
      await prisma.$disconnect()
      const disconnected = disconnectedFrom(pool)
      await pool.end()
      await Promise.race([disconnected, sleep(DISCONNECT_PATIENCE_MS, undefined, { ref: false })])
    },
  }
}

interface Transaction {
  prisma: Prisma.TransactionClient
  sql: Sql
  afterCommit(effect: () => Promise<void> | void): Promise<void>
}

const transactionOn = (prisma: Prisma.TransactionClient, effects: (() => Promise<void> | void)[]): Transaction => ({
  prisma,
  sql: async <Row>(text: string, values: readonly unknown[]) => prisma.$queryRawUnsafe<Row[]>(text, ...values),
  afterCommit: async (effect) => void effects.push(effect),
})

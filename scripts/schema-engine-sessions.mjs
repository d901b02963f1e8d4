// The connections of the schema engine: PostgreSQL through `pg`, with what Prisma's adapter leaves out.
import { randomUUID } from 'node:crypto'
import { PrismaPg } from '@prisma/adapter-pg'
import { bindMigrationAwareSqlAdapterFactory, ColumnTypeEnum } from '@prisma/driver-adapter-utils'
import pg from 'pg'
import { parse } from 'pg-connection-string'

const CHAR_OID = 18
const TEXT_OID = 25

const quoteName = (name) => `"${name.replaceAll('"', '""')}"`

/** Splits Prisma's `?schema=` from the rest of a connection URL: PostgreSQL would refuse it. */
export function parseUrl(text) {
  const url = new URL(text)
  const schema = url.searchParams.get('schema') ?? undefined
  url.searchParams.delete('schema')
  // As fields, not as a connectionString: pg lets the string win over the name of the shadow database.
  return { schema, config: parse(url.toString()) }
}

export async function withClient(config, use) {
  const client = new pg.Client(config)
  await client.connect()
  try {
    return await use(client)
  } finally {
    await client.end()
  }
}

export async function createDatabase(url) {
  const { config } = parseUrl(url)
  const sql = `CREATE DATABASE ${quoteName(config.database)}`
  await withClient({ ...config, database: 'postgres' }, (client) => client.query(sql))
  return config.database
}

/** Prisma's adapter cannot read the catalogue's one-byte "char" type: report those columns as text. */
function reportCharAsText(result) {
  for (const one of [result].flat()) {
    for (const field of one?.fields ?? []) if (field.dataTypeID === CHAR_OID) field.dataTypeID = TEXT_OID
  }
  return result
}

class CatalogueClient extends pg.Client {
  query(...args) {
    const callback = args.at(-1)
    // A pool passes a callback, a transaction waits for the promise.
    if (typeof callback === 'function') {
      return super.query(...args.slice(0, -1), (error, result) => callback(error, reportCharAsText(result)))
    }
    return super.query(...args).then(reportCharAsText)
  }
}

/** Opens one session of the engine; `afterwards` runs when the engine has closed it. */
async function openSession(config, schema, afterwards) {
  const options = schema && `-c search_path=${quoteName(schema)}`
  // max 1: the engine's advisory lock and its SET statements belong to one session.
  const pool = new pg.Pool({ ...config, max: 1, options, Client: CatalogueClient })
  const adapter = await new PrismaPg(pool, { schema }).connect()
  // The adapter's own version splits scripts at every ";", also inside function bodies. The simple protocol takes them whole.
  adapter.executeScript = async (script) => {
    await pool.query(script).catch((error) => adapter.onError(error))
  }
  const queryRaw = adapter.queryRaw.bind(adapter)
  adapter.queryRaw = async (query) => {
    const result = await queryRaw(query)
    // The one column that the engine wants as a character: it panics at a CHECK constraint otherwise.
    const index = result.columnNames.indexOf('constraint_type')
    if (index >= 0) result.columnTypes[index] = ColumnTypeEnum.Character
    return result
  }
  adapter.dispose = async () => {
    await pool.end()
    await afterwards?.()
  }
  return adapter
}

async function openShadowSession(config, schema) {
  const database = `prisma_migrate_shadow_db_${randomUUID()}`
  // Not the database of the application, which may not exist yet.
  const admin = new pg.Client({ ...config, database: 'postgres' })
  await admin.connect()
  await admin.query(`CREATE DATABASE ${quoteName(database)}`)
  return openSession({ ...config, database }, schema, async () => {
    await admin.query(`DROP DATABASE IF EXISTS ${quoteName(database)} WITH (FORCE)`)
    await admin.end()
  })
}

/** A session without a server: answers the one question that the engine asks at its start (schema exists? version?). */
async function openOfflineSession(config, schema) {
  const adapter = await openSession(config, schema)
  adapter.queryRaw = async () => ({
    columnNames: ['exists', 'version', 'numeric_version'],
    columnTypes: [ColumnTypeEnum.Boolean, ColumnTypeEnum.Text, ColumnTypeEnum.Int32],
    rows: [[true, 'PostgreSQL 15.0', 150000]],
  })
  return adapter
}

export function sessionFactory(url, isOffline) {
  const { config, schema } = parseUrl(url)
  return bindMigrationAwareSqlAdapterFactory({
    provider: 'postgres',
    adapterName: '@prisma/adapter-pg',
    connect: () => (isOffline ? openOfflineSession : openSession)(config, schema),
    connectToShadowDb: () => openShadowSession(config, schema),
  })
}

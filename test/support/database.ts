import pg from 'pg'
import { onTestFinished } from 'vitest'
import type { Installation } from './installation.js'

type Query = (text: string, values?: unknown[]) => Promise<pg.QueryResult>

/** A connection past the server, as the owner of the database has one. It ends with the test. */
export async function openDatabase({ databaseUrl }: Pick<Installation, 'databaseUrl'>) {
  const database = new pg.Client(databaseUrl)
  await database.connect()
  onTestFinished(() => database.end())
  const query: Query = (text, values = []) => database.query(text, values)

  /** A statement that no trigger of the audit log sees. */
  const tamper: Query = async (text, values) => {
    await query(`SET session_replication_role = 'replica'`)
    return query(text, values).finally(() => query(`SET session_replication_role = 'origin'`))
  }
  return { query, tamper }
}

import pg from 'pg'
import { onTestFinished } from 'vitest'
import type { Installation } from './installation.js'

/** What waits while logins are stalled: it comes to the database before it comes to the password. */
export const STALLED =
  'mutation { login(input: { identifier: "nobody@example.com", password: "x", tokenDelivery: BODY }) { __typename } }'

/** Lets no login end until it is called, or the test has ended. */
export async function stallLogins({ databaseUrl }: Installation): Promise<() => Promise<unknown>> {
  const database = new pg.Client(databaseUrl)
  await database.connect()
  onTestFinished(() => database.end())
  await database.query('BEGIN; LOCK TABLE login_throttles IN ACCESS EXCLUSIVE MODE')
  return () => database.query('ROLLBACK')
}

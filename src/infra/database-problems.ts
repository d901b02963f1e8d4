import pg from 'pg'
import { codesOf, isDatabaseUnavailable } from './postgres.js'

/** What keeps a server from starting on its database, in words for whoever has set DATABASE_URL. */
export class DatabaseProblem extends Error {}

const SQLSTATE = /^\d[\dA-Z]{4}$/

/** What to do, by the code of PostgreSQL. */
const ADVICE: Record<string, (role: string, database: string) => string> = {
  '28000': (role) => `See whether the role "${role}" exists and may log in, and what pg_hba.conf says`,
  '28P01': (role) => `See whether the role "${role}" exists, and whether that is its password`,
  '3D000': (role, database) => `CREATE DATABASE "${database}" OWNER "${role}"`,
  '42501': (role, database) =>
    `GRANT CONNECT, CREATE ON DATABASE "${database}" TO "${role}"; GRANT USAGE, CREATE ON SCHEMA public TO "${role}"; ` +
    'and it has to own the tables that are there already (docs/operations.md)',
}

const TLS = /SSL|TLS|certificate/i
const TLS_ADVICE = 'See sslmode and sslrootcert in it, and what the server offers'

function describe(error: Error & { code?: string }, url: string): string {
  const codes = codesOf(error)
  const { user = '', database = '' } = new pg.Client(url)
  const advice =
    codes.map((code) => ADVICE[code]?.(user, database)).find(Boolean) ?? (TLS.test(error.message) ? TLS_ADVICE : '')
  const isAnswer = codes.some((code) => SQLSTATE.test(code))
  const verb = isDatabaseUnavailable(error) && !isAnswer ? 'does not answer' : 'cannot be used'
  return [`The database of DATABASE_URL ${verb}: ${error.message || error.code}`, advice].filter(Boolean).join('. ')
}

/** For whatever happens as it is connected to. */
export const rethrowNamed =
  (url: string) =>
  (error: Error): never => {
    throw error instanceof DatabaseProblem ? error : new DatabaseProblem(describe(error, url), { cause: error })
  }

/** For what follows: names only what the database, and not what is in it, is to blame for. */
export const rethrowIfItsFault =
  (url: string) =>
  (error: Error): never => {
    if (isDatabaseUnavailable(error) || codesOf(error).some((code) => code in ADVICE)) return rethrowNamed(url)(error)
    throw error
  }

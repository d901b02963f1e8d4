import pg from 'pg'
import { onTestFinished } from 'vitest'
import { eventually } from './eventually.js'
import type { Installation } from './installation.js'

/** Who waits for the process, or for somebody who does: not who waits a moment for anybody else. */
const WAITING = `
  WITH RECURSIVE blocked AS (
    SELECT $1::int AS pid
    UNION SELECT other.pid FROM pg_stat_activity other JOIN blocked ON blocked.pid = ANY(pg_blocking_pids(other.pid))
    WHERE other.datname = current_database()
  )
  SELECT count(*)::int - 1 AS count FROM blocked`

export interface DatabaseLock {
  /** Waits until so many statements of the servers wait for a lock. */
  untilWaiting(count: number): Promise<void>
  /** Locks more. Where that is a deadlock, PostgreSQL undoes what has waited for longest, as a rule. */
  extend(statement: string): Promise<void>
  release(): Promise<void>
}

/** Runs a statement that locks, and keeps what it has locked until `release`: so that a test decides who comes first. */
export async function lockDatabase(
  database: Pick<Installation, 'databaseUrl'>,
  statement: string,
): Promise<DatabaseLock> {
  const [holder, observer] = [new pg.Client(database.databaseUrl), new pg.Client(database.databaseUrl)]
  await Promise.all([holder.connect(), observer.connect()])
  onTestFinished(async () => void (await Promise.all([holder.end(), observer.end()])))
  const { pid } = (await holder.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')).rows[0] ?? {}
  await holder.query('BEGIN')
  await holder.query(statement)
  return {
    untilWaiting: (count) => eventually(async () => (await observer.query(WAITING, [pid])).rows[0].count).toBe(count),
    extend: async (more) => void (await holder.query(more).catch(() => {})),
    release: async () => void (await holder.query('COMMIT')),
  }
}

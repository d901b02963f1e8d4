import { randomBytes } from 'node:crypto'
import pg from 'pg'
import { inject } from 'vitest'
import { createTestClock, type TestClock } from './clock.js'
import { databaseUrl } from './environment.js'

/** What the processes of one installation share. */
export interface Installation {
  databaseUrl: string
  clock: TestClock
  redisPrefix: string
  remove(): Promise<void>
}

/** One for all files that run here: each connection is a process of PostgreSQL. */
const administrator = new pg.Pool({ connectionString: inject('database').url, max: 1, idleTimeoutMillis: 5000 })

async function create(id: string, how: string): Promise<Installation> {
  const { url, prefix } = inject('database')
  const name = `${prefix}_${id}`
  await administrator.query(`CREATE DATABASE "${name}" ${how}`)
  return {
    databaseUrl: databaseUrl(url, name),
    clock: createTestClock(),
    redisPrefix: `test-${id}:`,
    remove: async () => void (await administrator.query(`DROP DATABASE "${name}" WITH (FORCE)`)),
  }
}

const newId = () => randomBytes(6).toString('hex')

/** A database of its own, as new: a copy of the template. */
export const createInstallation = () => create(newId(), `TEMPLATE "${inject('database').prefix}" STRATEGY FILE_COPY`)

/** A database of its own in which there is nothing yet. */
export const createEmptyInstallation = () => create(newId(), '')

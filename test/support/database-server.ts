// One PostgreSQL for the whole run, with one template that has everything which a server makes at its first start.
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import type { TestProject } from 'vitest/node'
import { loadConfig } from '../../src/config.js'
import { startEmbeddedPostgres } from '../../src/infra/embedded-postgres.js'
import { createRuntime } from '../../src/runtime.js'
import { databaseUrl, TEST_ENVIRONMENT } from './environment.js'
import { createTestLog } from './log.js'
import { THROWAWAY_FLAGS } from './throwaway.js'

declare module 'vitest' {
  export interface ProvidedContext {
    /** `url` may create databases; every name begins with `prefix`, and the template is called just that. */
    database: { url: string; prefix: string }
  }
}

// Databases of tests are gone before anything in them is worth to be tidied up.
const FLAGS = [...THROWAWAY_FLAGS, '-c', 'autovacuum=off']

interface Server {
  url: string
  stop(): Promise<void>
}

async function startServer(): Promise<Server> {
  const url = process.env.TEST_DATABASE_URL
  if (url) return { url, stop: async () => {} }
  const folder = await mkdtemp(join(tmpdir(), 'portcullis-test-'))
  const remove = () => rm(folder, { recursive: true, force: true })
  try {
    const server = await startEmbeddedPostgres(join(folder, 'data'), createTestLog(), { flags: FLAGS })
    return { url: server.url, stop: () => server.stop().finally(remove) }
  } catch (error) {
    await remove()
    throw error
  }
}

async function query(url: string, ...statements: string[]): Promise<string[]> {
  const client = new pg.Client(url)
  await client.connect()
  try {
    const names: string[] = []
    for (const statement of statements) {
      const { rows } = await client.query<{ datname?: string }>(statement)
      names.push(...rows.flatMap(({ datname }) => datname ?? []))
    }
    return names
  } finally {
    await client.end()
  }
}

async function dropAll({ url }: Server, prefix: string): Promise<void> {
  const names = await query(url, `SELECT datname FROM pg_database WHERE datname LIKE '${prefix}%'`)
  await query(url, ...names.map((name) => `DROP DATABASE IF EXISTS "${name}" WITH (FORCE)`))
}

/** Migrates the template, and lets the server make its queues and its signing key there. */
async function prepareTemplate({ url }: Server, name: string): Promise<void> {
  await query(url, `CREATE DATABASE "${name}"`)
  const config = loadConfig({ ...TEST_ENVIRONMENT, DATABASE_URL: databaseUrl(url, name) })
  const address = () => 'http://localhost'
  const runtime = await createRuntime(config, createTestLog(), { public: address, frontend: address })
  await runtime.close()
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const server = await startServer()
  const prefix = `portcullis_test_${randomBytes(6).toString('hex')}`
  const stop = () => dropAll(server, prefix).finally(server.stop)
  try {
    await prepareTemplate(server, prefix)
  } catch (error) {
    await stop()
    throw error
  }
  project.provide('database', { url: server.url, prefix })
  return stop
}

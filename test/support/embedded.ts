// What the tests of the embedded PostgreSQL share: a data directory for each, and programs that run a database in it.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import pg from 'pg'
import { afterEach, beforeEach } from 'vitest'
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../src/infra/embedded-postgres.js'
import type { Log } from '../../src/ports.js'
import { postmasterOf } from './server-process.js'

export const SILENT: Log = { debug() {}, info() {}, warn() {}, error() {} }
const LAUNCHER = new URL('../../src/infra/embedded-postgres.ts', import.meta.url)
const COMMITS_BEFORE_THE_KILL = 30

/** A server of its own: starts the database, says where it is, then commits one row after the other and reports each. */
const WRITER = `
  const { startEmbeddedPostgres } = await import('${LAUNCHER.href}')
  const { default: pg } = await import('pg')
  const ignore = () => undefined
  const log = { debug: ignore, info: ignore, warn: ignore, error: ignore }
  const { url } = await startEmbeddedPostgres(process.env.TEST_DATA_DIR, log)
  console.log(url)
  const client = new pg.Client(url)
  await client.connect()
  await client.query('CREATE TABLE entry (id int)')
  for (let id = 1; ; id++) {
    await client.query('INSERT INTO entry VALUES ($1)', [id])
    console.log(id)
  }`

export async function query<Row extends object>(url: string, text: string): Promise<Row[]> {
  const client = new pg.Client({ connectionString: url })
  client.on('error', () => undefined)
  await client.connect()
  try {
    return (await client.query<Row>(text)).rows
  } finally {
    await client.end()
  }
}

export async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exit = once(child, 'exit')
  child.kill('SIGKILL')
  await exit
}

/** For each test a data directory, which goes with whatever runs in it. */
export function useDataDir() {
  let dataDir = ''
  const children: ChildProcess[] = []
  const databases: EmbeddedPostgres[] = []

  beforeEach(() => {
    dataDir = mkdtempSync(join(tmpdir(), 'portcullis-embedded-'))
  })

  afterEach(async () => {
    for (const child of children.splice(0)) await kill(child)
    // Also ends what a killed child may have left.
    if (databases.length === 0 && existsSync(join(dataDir, 'postgres'))) await start()
    for (const database of databases.splice(0)) await database.stop()
    rmSync(dataDir, { recursive: true })
  })

  async function start(flags: readonly string[] = [], log = SILENT, directory = dataDir): Promise<EmbeddedPostgres> {
    const database = await startEmbeddedPostgres(directory, log, { flags })
    databases.push(database)
    return database
  }

  function spawnWriter() {
    const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', WRITER], {
      env: { ...process.env, TEST_DATA_DIR: dataDir },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    children.push(child)
    return child
  }

  /** Resolves in the middle of the writing; `reported` grows until the child is dead. */
  async function startWriter(): Promise<{ child: ChildProcess; url: string; reported: number[] }> {
    const child = spawnWriter()
    const lines = createInterface({ input: child.stdout })
    const [url] = (await once(lines, 'line')) as [string]
    const reported: number[] = []
    await new Promise<void>((resolve) => {
      lines.on('line', (line) => {
        if (reported.push(Number(line)) === COMMITS_BEFORE_THE_KILL) resolve()
      })
    })
    return { child, url, reported }
  }

  return {
    inDataDir: (...path: string[]) => join(dataDir, ...path),
    children,
    databases,
    start,
    spawnWriter,
    startWriter,
    postmasterPid: () => postmasterOf(dataDir),
  }
}

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chownSync,
  existsSync,
  linkSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import pg from 'pg'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import {
  type EmbeddedPostgres,
  runningPostgresUrl,
  startEmbeddedPostgres,
  THROWAWAY_FLAGS,
} from '../../src/infra/embedded-postgres.js'
import { connectPostgres, isDatabaseUnavailable } from '../../src/infra/postgres.js'
import type { Log } from '../../src/ports.js'

// Each start is a program of its own, on a machine that may be busy.

const SILENT: Log = { debug() {}, info() {}, warn() {}, error() {} }
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

let dataDir: string
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

async function start(flags: readonly string[] = [], log = SILENT): Promise<EmbeddedPostgres> {
  const database = await startEmbeddedPostgres(dataDir, log, { flags })
  databases.push(database)
  return database
}

async function query<Row extends object>(url: string, text: string): Promise<Row[]> {
  const client = new pg.Client({ connectionString: url })
  client.on('error', () => undefined)
  await client.connect()
  try {
    return (await client.query<Row>(text)).rows
  } finally {
    await client.end()
  }
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exit = once(child, 'exit')
  child.kill('SIGKILL')
  await exit
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

const postmasterPid = () => Number(readFileSync(join(dataDir, 'postgres', 'postmaster.pid'), 'utf8').split('\n')[0])
const processGroupOf = (pid: number) => Number(readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ')[2])
const parentOf = (pid: number) => Number(readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ')[1])
const childrenOf = (pid: number) =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').map(Number)
const isRunning = (pid: number) => existsSync(`/proc/${pid}`) && readFileSync(`/proc/${pid}/cmdline`, 'utf8') !== ''

async function expectNothingLost(url: string, reported: number[]): Promise<void> {
  const entries = await query<{ id: number }>(url, 'SELECT id FROM entry ORDER BY id')
  expect(entries.slice(0, reported.length).map(({ id }) => id)).toEqual(reported)
  // At most the one commit whose answer did not arrive any more.
  expect(entries.length - reported.length).toBeLessThanOrEqual(1)
}

describe('the embedded database', () => {
  it('keeps its data across a stop and a start', async () => {
    const first = await start()
    await query(first.url, 'CREATE TABLE note AS SELECT 42 AS answer')
    await first.stop()
    await expect(query(first.url, 'SELECT 1')).rejects.toThrow('ENOENT')

    const second = await start()
    expect(await query(second.url, 'SELECT answer FROM note')).toEqual([{ answer: 42 }])
  })

  it('asks for a password that only the owner of the file can read, and listens in a directory of its owner alone', async () => {
    const { url } = await start(THROWAWAY_FLAGS)
    expect(statSync(join(dataDir, 'postgres.password')).mode & 0o777).toBe(0o600)
    expect(statSync(join(dataDir, 'postgres')).mode & 0o777).toBe(0o700)
    const wrong = new URL(url)
    wrong.password = 'wrong'
    await expect(query(wrong.href, 'SELECT 1')).rejects.toThrow('password authentication failed')
    expect(await query(url, 'SHOW listen_addresses')).toEqual([{ listen_addresses: '' }])
    expect(await query(url, 'SHOW unix_socket_directories')).toEqual([{ unix_socket_directories: '.' }])
    expect(await query(url, 'SHOW fsync')).toEqual([{ fsync: 'off' }])
  })

  it('refuses a second server on the same directory and leaves the first one alone', async () => {
    const { url } = await start(THROWAWAY_FLAGS)
    const startTime = await query(url, 'SELECT pg_postmaster_start_time()')
    await expect(startEmbeddedPostgres(dataDir, SILENT)).rejects.toThrow(
      `Another server uses this data directory: ${dataDir} (process ${process.pid})`,
    )
    expect(await query(url, 'SELECT pg_postmaster_start_time()')).toEqual(startTime)
  })

  it('refuses a second server in another process', async () => {
    const { child, reported } = await startWriter()
    await expect(start()).rejects.toThrow(`Another server uses this data directory: ${dataDir} (process ${child.pid})`)
    const atTheRefusal = reported.length
    await vi.waitFor(() => expect(reported.length).toBeGreaterThan(atTheRefusal))
  })

  it('is started again in the same place when PostgreSQL is killed', async () => {
    const { url } = await start()
    await query(url, 'CREATE TABLE note AS SELECT 42 AS answer')
    process.kill(postmasterPid(), 'SIGKILL')
    await vi.waitFor(async () => expect(await query(url, 'SELECT answer FROM note')).toEqual([{ answer: 42 }]), 10_000)
  })

  it('starts although a process of another kind has got the id of the last postmaster', async () => {
    const first = await start(THROWAWAY_FLAGS)
    const pidFile = join(dataDir, 'postgres', 'postmaster.pid')
    const [, ...rest] = readFileSync(pidFile, 'utf8').split('\n')
    await first.stop()
    const { uid, gid } = statSync(join(dataDir, 'postgres'))
    const impostor = spawn('sleep', ['600'], { uid, gid })
    children.push(impostor)
    writeFileSync(pidFile, [impostor.pid, ...rest].join('\n'), { mode: 0o600 })
    chownSync(pidFile, uid, gid)

    const second = await start(THROWAWAY_FLAGS)
    expect(await query(second.url, 'SELECT 1 AS one')).toEqual([{ one: 1 }])
    expect(impostor.signalCode).toBe(null)
  })
})

describe('the embedded database, in trouble,', () => {
  it('is started again and again until that works', async () => {
    const failures: string[] = []
    const { url } = await start(THROWAWAY_FLAGS, {
      ...SILENT,
      error: (_fields, message) => void failures.push(message),
    })
    const file = join(dataDir, 'postgres', 'postgresql.conf')
    renameSync(file, `${file}.away`)
    process.kill(postmasterPid(), 'SIGKILL')
    await vi.waitFor(() => expect(failures.join()).toContain('cannot be started again'), 60_000)
    renameSync(`${file}.away`, file)
    await vi.waitFor(async () => expect(await query(url, 'SELECT 1 AS one')).toEqual([{ one: 1 }]), 60_000)
  })

  it('ends at once while it is to be started again', async () => {
    const failures: string[] = []
    const database = await start(THROWAWAY_FLAGS, { ...SILENT, error: (_, message) => void failures.push(message) })
    rmSync(join(dataDir, 'postgres', 'postgresql.conf'))
    process.kill(postmasterPid(), 'SIGKILL')
    await vi.waitFor(() => expect(failures.join()).toContain('cannot be started again'), 60_000)
    await database.stop()
    databases.splice(0)
    rmSync(join(dataDir, 'postgres'), { recursive: true })
  })

  it('is taken for away, rather than for a fault, while its socket is gone', async () => {
    const { url, stop } = await start(THROWAWAY_FLAGS)
    const db = connectPostgres({ url, poolSize: 2, log: SILENT, onQuery: () => undefined })
    await stop()
    for (const ask of [
      () => db.sql('SELECT 1', []),
      () => db.prisma.user.findFirst(),
      () => db.transaction(async () => 1),
    ])
      expect(isDatabaseUnavailable(await ask().catch((error) => error))).toBe(true)
    await db.close()
  })

  it('is also reached in a directory whose path is too long for a socket', async () => {
    const parent = dataDir
    dataDir = join(parent, 'd'.repeat(120))
    const { url } = await start(THROWAWAY_FLAGS)
    expect(await query(url, 'SELECT 1 AS one')).toEqual([{ one: 1 }])
    expect(await query((await runningPostgresUrl(dataDir)) ?? '', 'SELECT 1 AS one')).toEqual([{ one: 1 }])
    await databases.pop()?.stop()
    dataDir = parent
  })
})

/** Left by a postmaster that was killed, for the next start to look at. */
async function stopUncleanly(): Promise<{ pidFile: string; uid: number; gid: number }> {
  const database = await start(THROWAWAY_FLAGS)
  const pidFile = join(dataDir, 'postgres', 'postmaster.pid')
  const content = readFileSync(pidFile, 'utf8')
  const { uid, gid } = statSync(join(dataDir, 'postgres'))
  await database.stop()
  databases.splice(0)
  writeFileSync(pidFile, content, { mode: 0o600 })
  chownSync(pidFile, uid, gid)
  return { pidFile, uid, gid }
}

/** Another account has to be there, and only root can be one. */
describe.runIf(process.platform === 'linux' && process.getuid?.() === 0)('what another account does', () => {
  const nameOf = (cluster: string) => `portcullis-${statSync(cluster).dev}-${statSync(cluster).ino}`

  async function callItself(name: string, account: { uid: number; gid: number }): Promise<ChildProcess> {
    const impostor = spawn('sleep', ['600'], { ...account, argv0: name })
    children.push(impostor)
    await once(impostor, 'spawn')
    return impostor
  }

  it('does not stop the start by a process with the name of the database', async () => {
    const { uid, gid } = await stopUncleanly()
    const name = nameOf(join(dataDir, 'postgres'))
    const foreign = await callItself(`postgres: ${name}`, { uid: uid + 1, gid: gid + 1 })
    const neighbour = await callItself(`postgres: ${name}1: checkpointer`, { uid, gid })
    const { url } = await start(THROWAWAY_FLAGS)
    expect(await query(url, 'SELECT 1 AS one')).toEqual([{ one: 1 }])
    for (const { exitCode, signalCode } of [foreign, neighbour]) expect([exitCode, signalCode]).toEqual([null, null])
  })

  it.each([
    ['a symbolic link to it', symlinkSync],
    ['another name of it', linkSync],
  ])('does not make the server write to a file of root, by %s', async (_, link) => {
    const { pidFile } = await stopUncleanly()
    const file = join(dataDir, 'file-of-root')
    writeFileSync(file, 'of root')
    rmSync(pidFile)
    link(file, pidFile)
    await expect(start(THROWAWAY_FLAGS)).rejects.toThrow(`${pidFile} is not what PostgreSQL has written`)
    expect(readFileSync(file, 'utf8')).toBe('of root')
    rmSync(pidFile)
  })
})

describe.runIf(process.platform === 'linux')(
  'after a kill -9, the embedded database has all that was committed',
  () => {
    it('of the server', async () => {
      const { child, reported } = await startWriter()
      await kill(child)
      const { url } = await start()
      await expectNothingLost(url, reported)
    })

    it('of the server, PostgreSQL and all between them', async () => {
      const { child, url, reported } = await startWriter()
      const backends = await query<{ pid: number }>(url, 'SELECT pid FROM pg_stat_activity')
      process.kill(-processGroupOf(postmasterPid()), 'SIGKILL')
      for (const { pid } of backends) if (isRunning(pid)) process.kill(pid, 'SIGKILL')
      await kill(child)
      await expectNothingLost((await start()).url, reported)
    })

    it('of the server while it creates the cluster, which is created anew', async () => {
      const child = spawnWriter()
      await vi.waitFor(() => expect(readdirSync(dataDir).join()).toContain('postgres.new-'), {
        timeout: 30_000,
        interval: 5,
      })
      await kill(child)
      const { url } = await start()
      expect(await query(url, 'SELECT 1 AS one')).toEqual([{ one: 1 }])
    })

    it('of everything but PostgreSQL, which is ended by the next start', async () => {
      const { child, reported } = await startWriter()
      const orphan = postmasterPid()
      const shell = parentOf(orphan)
      for (const pid of childrenOf(shell)) if (pid !== orphan) process.kill(pid, 'SIGKILL')
      process.kill(shell, 'SIGKILL')
      await kill(child)
      expect(isRunning(orphan)).toBe(true)

      const { url } = await start()
      expect(isRunning(orphan)).toBe(false)
      await expectNothingLost(url, reported)
    })

    it('of PostgreSQL and the server, while a backend is too busy to notice', async () => {
      const { child, url, reported } = await startWriter()
      const busy = new pg.Client({ connectionString: url })
      busy.on('error', () => undefined)
      await busy.connect()
      const [{ pid }] = (await busy.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')).rows as [{ pid: number }]
      const lost = busy.query('SELECT count(*) FROM generate_series(1, 1e9::bigint)').catch(() => undefined)
      await vi.waitFor(async () => {
        const active = await query(url, `SELECT 1 FROM pg_stat_activity WHERE pid = ${pid} AND state = 'active'`)
        expect(active).toHaveLength(1)
      })
      process.kill(-processGroupOf(postmasterPid()), 'SIGKILL')
      await kill(child)

      const restarted = await start()
      await lost
      expect(isRunning(pid)).toBe(false)
      await expectNothingLost(restarted.url, reported)
    })
  },
)

import { spawn } from 'node:child_process'
import { chownSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import pg from 'pg'
import { describe, expect, it, vi } from 'vitest'
import { startEmbeddedPostgres } from '../../src/infra/embedded-postgres.js'
import { kill, query, SILENT, useDataDir } from '../support/embedded.js'
import { THROWAWAY_FLAGS } from '../support/throwaway.js'

// Each start is a program of its own, on a machine that may be busy.

const { inDataDir, children, start, spawnWriter, startWriter, postmasterPid } = useDataDir()

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
    expect(statSync(inDataDir('postgres.password')).mode & 0o777).toBe(0o600)
    expect(statSync(inDataDir('postgres')).mode & 0o777).toBe(0o700)
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
    await expect(startEmbeddedPostgres(inDataDir(), SILENT)).rejects.toThrow(
      `Another server uses this data directory: ${inDataDir()} (process ${process.pid})`,
    )
    expect(await query(url, 'SELECT pg_postmaster_start_time()')).toEqual(startTime)
  })

  it('refuses a second server in another process', async () => {
    const { child, reported } = await startWriter()
    await expect(start()).rejects.toThrow(
      `Another server uses this data directory: ${inDataDir()} (process ${child.pid})`,
    )
    const atTheRefusal = reported.length
    await vi.waitFor(() => expect(reported.length).toBeGreaterThan(atTheRefusal), 60_000)
  })

  it('is started again in the same place when PostgreSQL is killed', async () => {
    const { url } = await start()
    await query(url, 'CREATE TABLE note AS SELECT 42 AS answer')
    process.kill(postmasterPid(), 'SIGKILL')
    await vi.waitFor(async () => expect(await query(url, 'SELECT answer FROM note')).toEqual([{ answer: 42 }]), 10_000)
  })

  it('starts although a process of another kind has got the id of the last postmaster', async () => {
    const first = await start(THROWAWAY_FLAGS)
    const pidFile = inDataDir('postgres', 'postmaster.pid')
    const [, ...rest] = readFileSync(pidFile, 'utf8').split('\n')
    await first.stop()
    const { uid, gid } = statSync(inDataDir('postgres'))
    const impostor = spawn('sleep', ['600'], { uid, gid })
    children.push(impostor)
    writeFileSync(pidFile, [impostor.pid, ...rest].join('\n'), { mode: 0o600 })
    chownSync(pidFile, uid, gid)

    const second = await start(THROWAWAY_FLAGS)
    expect(await query(second.url, 'SELECT 1 AS one')).toEqual([{ one: 1 }])
    expect(impostor.signalCode).toBe(null)
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
      await vi.waitFor(() => expect(readdirSync(inDataDir()).join()).toContain('postgres.new-'), {
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
      }, 60_000)
      process.kill(-processGroupOf(postmasterPid()), 'SIGKILL')
      await kill(child)

      const restarted = await start()
      await lost
      expect(isRunning(pid)).toBe(false)
      await expectNothingLost(restarted.url, reported)
    })
  },
)

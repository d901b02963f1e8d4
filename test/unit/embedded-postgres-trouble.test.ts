import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chownSync, linkSync, readFileSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { describe, expect, it, vi } from 'vitest'
import { runningPostgresUrl } from '../../src/infra/embedded-postgres.js'
import { connectPostgres, isDatabaseUnavailable } from '../../src/infra/postgres.js'
import { query, SILENT, useDataDir } from '../support/embedded.js'
import { THROWAWAY_FLAGS } from '../support/throwaway.js'

const { inDataDir, children, databases, start, postmasterPid } = useDataDir()

describe('the embedded database, in trouble,', () => {
  it('is started again and again until that works', async () => {
    const failures: string[] = []
    const { url } = await start(THROWAWAY_FLAGS, {
      ...SILENT,
      error: (_fields, message) => void failures.push(message),
    })
    const file = inDataDir('postgres', 'postgresql.conf')
    renameSync(file, `${file}.away`)
    process.kill(postmasterPid(), 'SIGKILL')
    await vi.waitFor(() => expect(failures.join()).toContain('cannot be started again'), 60_000)
    renameSync(`${file}.away`, file)
    await vi.waitFor(async () => expect(await query(url, 'SELECT 1 AS one')).toEqual([{ one: 1 }]), 60_000)
  })

  it('ends at once while it is to be started again', async () => {
    const failures: string[] = []
    const database = await start(THROWAWAY_FLAGS, { ...SILENT, error: (_, message) => void failures.push(message) })
    rmSync(inDataDir('postgres', 'postgresql.conf'))
    process.kill(postmasterPid(), 'SIGKILL')
    await vi.waitFor(() => expect(failures.join()).toContain('cannot be started again'), 60_000)
    await database.stop()
    databases.splice(0)
    rmSync(inDataDir('postgres'), { recursive: true })
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
    const deep = inDataDir('d'.repeat(120))
    const { url } = await start(THROWAWAY_FLAGS, SILENT, deep)
    expect(await query(url, 'SELECT 1 AS one')).toEqual([{ one: 1 }])
    expect(await query((await runningPostgresUrl(deep)) ?? '', 'SELECT 1 AS one')).toEqual([{ one: 1 }])
  })
})

/** Left by a postmaster that was killed, for the next start to look at. */
async function stopUncleanly(): Promise<{ pidFile: string; uid: number; gid: number }> {
  const database = await start(THROWAWAY_FLAGS)
  const pidFile = inDataDir('postgres', 'postmaster.pid')
  const content = readFileSync(pidFile, 'utf8')
  const { uid, gid } = statSync(inDataDir('postgres'))
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
    const name = nameOf(inDataDir('postgres'))
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
    const file = inDataDir('file-of-root')
    writeFileSync(file, 'of root')
    rmSync(pidFile)
    link(file, pidFile)
    await expect(start(THROWAWAY_FLAGS)).rejects.toThrow(`${pidFile} is not what PostgreSQL has written`)
    expect(readFileSync(file, 'utf8')).toBe('of root')
    rmSync(pidFile)
  })
})

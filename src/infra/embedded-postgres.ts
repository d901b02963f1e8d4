import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import {
  closeSync,
  constants,
  existsSync,
  fchownSync,
  fsyncSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { join, resolve } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Log } from '../ports.js'
import { tryLockFile } from './file-lock.js'
import { readPlainFile } from './plain-file.js'
import { type Account, chooseAccount, findBinaries, POSTGRES_ENV } from './postgres-binaries.js'
import { endOrphans, isAccepting, SOCKET } from './postgres-processes.js'
import { dataDirectoryOf, type RunningServer, runPostgres, type ServerOptions } from './postgres-server.js'

const OWNER_ONLY_DIRECTORY = 0o700
const OWNER_ONLY_FILE = 0o600
const DRAFT_PREFIX = 'postgres.new-'
/** A killed process may still be on its way out when its successor starts. */
const LOCK_ATTEMPTS = 10
const LOCK_RETRY_MS = 100
const RESTART_DELAY_MS = 500
const MAX_RESTART_DELAY_MS = 30_000
/** What the address of a socket has room for, on the narrowest system. */
const MAX_SOCKET_PATH_BYTES = 103
/** A server that has just been started takes a moment until its database accepts connections. */
const READY_ATTEMPTS = 50
const READY_RETRY_MS = 100

export interface EmbeddedPostgres {
  url: string
  /** Resolves when PostgreSQL has ended and the data directory is free. */
  stop(): Promise<void>
}

interface Paths {
  directory: string
  cluster: string
  password: string
  lock: string
}

/**
 * Runs the PostgreSQL of the optional npm package on `<dataDir>/postgres`, reachable by a socket there with a password.
 * It ends with this process, even with a killed one. Throws when another server uses the directory.
 */
export async function startEmbeddedPostgres(
  dataDir: string,
  log: Log,
  { flags = [] }: { flags?: readonly string[] } = {},
): Promise<EmbeddedPostgres> {
  if (process.platform === 'win32') throw new Error('There is no embedded PostgreSQL on Windows: set DATABASE_URL')
  const paths = pathsIn(resolve(dataDir))
  mkdirSync(paths.directory, { recursive: true, mode: OWNER_ONLY_DIRECTORY })
  const unlock = await lockDirectory(paths)
  try {
    removeDrafts(paths.directory)
    const account = chooseAccount(paths.cluster)
    const { initdb, postgres } = await findBinaries(account)
    if (!existsSync(join(paths.cluster, 'PG_VERSION'))) await createCluster(paths, initdb, account, flags)
    const password = readPassword(paths.password)
    await endOrphans(paths.cluster)
    const server = await keepRunning({ postgres, cluster: paths.cluster, account, flags, log })
    let stopped: Promise<void> | undefined
    return {
      url: urlOf(password, paths.cluster),
      stop() {
        stopped ??= server.stop().finally(unlock)
        return stopped
      },
    }
  } catch (error) {
    unlock()
    throw error
  }
}

/** Where the PostgreSQL of a server that runs on the directory is reached; null when none runs there. */
export async function runningPostgresUrl(dataDir: string): Promise<string | null> {
  const { cluster, lock, password } = pathsIn(resolve(dataDir))
  if (!existsSync(lock)) return null
  for (let attempt = 1; attempt <= READY_ATTEMPTS; attempt++) {
    const unlock = await tryLockFile(lock)
    if (unlock) {
      unlock()
      return null
    }
    if (isAccepting(cluster)) return urlOf(readPassword(password), cluster)
    await sleep(READY_RETRY_MS)
  }
  throw new Error(`The server that uses ${resolve(dataDir)} has no database that accepts connections`)
}

function urlOf(password: string, cluster: string): string {
  const host = encodeURIComponent(reachable(cluster))
  return `postgresql://postgres:${password}@localhost/postgres?host=${host}`
}

/** Another name for the directory when its own is too long for the address of a socket; for as long as this process lives. */
function reachable(cluster: string): string {
  if (Buffer.byteLength(join(cluster, SOCKET)) <= MAX_SOCKET_PATH_BYTES) return cluster
  if (process.platform !== 'linux') throw new Error(`The path of DATA_DIR is too long for a socket in it: ${cluster}`)
  return `/proc/${process.pid}/fd/${openSync(cluster, 'r')}`
}

const pathsIn = (directory: string): Paths => ({
  directory,
  cluster: join(directory, 'postgres'),
  password: join(directory, 'postgres.password'),
  lock: join(directory, 'postgres.lock'),
})

async function lockDirectory({ directory, lock }: Paths): Promise<() => void> {
  for (let attempt = 1; attempt <= LOCK_ATTEMPTS; attempt++) {
    const unlock = await tryLockFile(lock)
    if (unlock) return unlock
    await sleep(LOCK_RETRY_MS)
  }
  const owner = readFileSync(lock, 'utf8').trim()
  throw new Error(
    `Another server uses this data directory: ${directory} (process ${owner}). Stop it, set another DATA_DIR, or share a PostgreSQL by DATABASE_URL`,
  )
}

/** Writes the password, then the cluster under another name: a cluster with its final name is complete. */
async function createCluster(paths: Paths, initdb: string, account: Account, flags: readonly string[]): Promise<void> {
  const draft = mkdtempSync(join(paths.directory, DRAFT_PREFIX))
  rmSync(paths.password, { force: true })
  const password = randomBytes(24).toString('base64url')
  const file = openSync(paths.password, 'wx', OWNER_ONLY_FILE)
  writeFileSync(file, `${password}\n`, { flush: true })
  give(file, account)
  give(openSync(draft, constants.O_DIRECTORY | constants.O_NOFOLLOW), account)
  await runInitdb(initdb, draft, paths.password, account, flags.includes('fsync=off'))
  renameSync(draft, paths.cluster)
  syncDirectory(paths.directory)
}

/** What is open, not what has its name: who may write to the directory could put a link to a file of root there. */
function give(fd: number, { uid, gid }: Account): void {
  if (uid !== undefined && gid !== undefined) fchownSync(fd, uid, gid)
  closeSync(fd)
}

/** What killed servers have left. An initdb may outlive its server for a moment, and still write to its own draft. */
function removeDrafts(directory: string): void {
  for (const name of readdirSync(directory).filter((entry) => entry.startsWith(DRAFT_PREFIX))) {
    try {
      rmSync(join(directory, name), { recursive: true, force: true })
    } catch {
      // In nobody's way: each draft has a name of its own.
    }
  }
}

async function runInitdb(initdb: string, draft: string, passwordFile: string, account: Account, isThrowaway: boolean) {
  const options = ['--username=postgres', '--auth=scram-sha-256', '--pwfile=/dev/fd/3', '--encoding=UTF8', '--locale=C']
  const args = ['-D', dataDirectoryOf(draft), ...options, ...(isThrowaway ? ['--no-sync'] : [])]
  // As a descriptor: the account may own the file, and yet be unable to reach it by its path.
  const fd = openSync(passwordFile, constants.O_RDONLY | constants.O_NOFOLLOW)
  try {
    const child = spawn(initdb, args, {
      ...account,
      cwd: draft,
      env: POSTGRES_ENV,
      stdio: ['ignore', 'ignore', 'pipe', fd],
    })
    const [[status], problem] = await Promise.all([once(child, 'exit'), child.stderr ? text(child.stderr) : ''])
    if (status !== 0) throw new Error(`Cannot create the embedded database: ${problem}`)
  } finally {
    closeSync(fd)
  }
}

/** The new name survives a crash of the machine as soon as the directory is on disk. */
function syncDirectory(directory: string): void {
  const fd = openSync(directory, 'r')
  fsyncSync(fd)
  closeSync(fd)
}

/** Whoever answers at the socket may ask for it in plain text. */
function readPassword(file: string): string {
  try {
    return readPlainFile(file).trim()
  } catch (error) {
    throw new Error(`Cannot read the password of the embedded database: ${file}`, { cause: error })
  }
}

/** Starts PostgreSQL and, should it end by itself, again and again until it runs, so that pools reconnect. */
async function keepRunning(options: ServerOptions): Promise<{ stop(): Promise<void> }> {
  const { cluster, log } = options
  const stopping = new AbortController()
  let restart: Promise<void> | undefined
  let server = await runPostgres(options)
  watch(server)

  function watch(watched: RunningServer): void {
    void watched.ended.then((status) => {
      if (!stopping.signal.aborted) restart = startAgain(status)
    })
  }
  async function startAgain(status: number | null): Promise<void> {
    log.error({ status }, 'The embedded database has ended unexpectedly: starting it again')
    for (let delayMs = RESTART_DELAY_MS; ; delayMs = Math.min(2 * delayMs, MAX_RESTART_DELAY_MS)) {
      await sleep(delayMs, undefined, stopping).catch(() => undefined)
      if (stopping.signal.aborted) return
      try {
        await endOrphans(cluster)
        server = await runPostgres(options)
        watch(server)
        log.info({}, 'The embedded database runs again')
        return
      } catch (error) {
        if (delayMs === RESTART_DELAY_MS)
          log.error({ err: error }, 'The embedded database cannot be started again: trying on')
      }
    }
  }
  async function stop(): Promise<void> {
    stopping.abort()
    await restart
    await server.stop()
  }
  return { stop }
}

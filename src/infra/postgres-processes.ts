import { execFileSync } from 'node:child_process'
import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/** Where PostgreSQL listens, in its data directory. */
export const SOCKET = '.s.PGSQL.5432'
/** Greater than the id of any process on any system. */
const NO_SUCH_PROCESS = 2_147_483_647
const POLL_MS = 20
/** A fast shutdown writes a checkpoint. Without a postmaster, the rest ends by itself, unless it is busy. */
const SHUTDOWN_PATIENCE_MS = 20_000
const ORPHAN_PATIENCE_MS = 500
const KILL_PATIENCE_MS = 5_000

/** Given to PostgreSQL as cluster_name, which is in the command line of all its processes: how we tell whose they are. */
export function clusterName(cluster: string): string {
  const { dev, ino } = statSync(cluster)
  return `portcullis-${dev}-${ino}`
}

/**
 * Ends the PostgreSQL that a killed server has left on this cluster. The caller must own the data directory: whatever
 * runs there now is nobody's. Nothing committed is lost: what had to be killed is recovered from the log at the next start.
 */
export async function endOrphans(cluster: string): Promise<void> {
  const [pid] = withPidFile(cluster, readLines) ?? []
  if (pid === undefined) return rmSync(join(cluster, `${SOCKET}.lock`), { force: true })
  const postmaster = Number(pid)
  const isPostmasterGone = () => !processesOf(cluster).includes(postmaster)
  const isAllGone = () => processesOf(cluster).length === 0
  if (!isPostmasterGone()) {
    signal(postmaster, 'SIGINT')
    await becomesTrue(isPostmasterGone, SHUTDOWN_PATIENCE_MS)
  }
  if (!(await becomesTrue(isAllGone, ORPHAN_PATIENCE_MS))) {
    for (const pid of processesOf(cluster)) signal(pid, 'SIGKILL')
    if (!(await becomesTrue(isAllGone, KILL_PATIENCE_MS))) {
      throw new Error(`PostgreSQL still runs in ${cluster}, and cannot be stopped`)
    }
  }
  withPidFile(cluster, forgetPostmaster)
  // It holds the same id.
  rmSync(join(cluster, `${SOCKET}.lock`), { force: true })
}

/** Whether a PostgreSQL accepts connections on this cluster. */
export function isAccepting(cluster: string): boolean {
  const [pid, , , , , , , status] = withPidFile(cluster, readLines) ?? []
  return status?.trim() === 'ready' && processesOf(cluster).includes(Number(pid))
}

const readLines = (fd: number) => readFileSync(fd, 'utf8').split('\n')

/**
 * Uses postmaster.pid; null when there is none. The cluster may belong to another account than ours: what that has put in
 * the place of the file is neither read nor written.
 */
function withPidFile<T>(cluster: string, use: (fd: number) => T): T | null {
  const path = join(cluster, 'postmaster.pid')
  let fd: number | undefined
  try {
    fd = openSync(path, constants.O_RDWR | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    const stats = fstatSync(fd)
    if (!stats.isFile() || stats.uid !== statSync(cluster).uid) throw new Error('It is another kind of file')
    return use(fd)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null
    throw new Error(`${path} is not what PostgreSQL has written: look at it, and remove it`, { cause: error })
  } finally {
    if (fd !== undefined) closeSync(fd)
  }
}

async function becomesTrue(condition: () => boolean, patienceMs: number): Promise<boolean> {
  const deadline = performance.now() + patienceMs
  while (!condition()) {
    if (performance.now() > deadline) return false
    await sleep(POLL_MS)
  }
  return true
}

function signal(pid: number, name: 'SIGINT' | 'SIGKILL'): void {
  try {
    process.kill(pid, name)
  } catch {
    // It has ended in the meantime, or is not ours: whether it is gone is looked at afterwards.
  }
}

/**
 * PostgreSQL refuses to start while the process of the id in the file exists, be it a zombie or, after a reboot, something
 * else. The file itself stays: it also leads PostgreSQL to the shared memory, by which it makes sure that it is alone.
 */
function forgetPostmaster(fd: number): void {
  const [, ...rest] = readLines(fd)
  ftruncateSync(fd)
  writeSync(fd, [NO_SUCH_PROCESS, ...rest].join('\n'), 0)
}

/**
 * A postmaster keeps its arguments; its children call themselves `postgres: <cluster name>: <what they do>`. So may anybody:
 * only those of the account that owns the cluster count.
 */
function processesOf(cluster: string): number[] {
  const name = clusterName(cluster)
  const { uid: owner } = statSync(cluster)
  const all = process.platform === 'linux' ? listProcessesOnLinux() : listProcesses()
  return all
    .filter(
      ({ uid, program, command }) =>
        uid === owner && /^postgres(:|$)/.test(basename(program)) && command.split(/[\0\s=:]+/).includes(name),
    )
    .map(({ pid }) => pid)
}

interface Process {
  pid: number
  uid: number
  program: string
  command: string
}

/** Small images have no ps. A zombie has an empty command line. */
function listProcessesOnLinux(): Process[] {
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .flatMap((entry) => {
      try {
        const command = readFileSync(`/proc/${entry}/cmdline`, 'utf8')
        const { uid } = statSync(`/proc/${entry}`)
        return { pid: Number(entry), uid, program: command.split(/\0| /, 1)[0] ?? '', command }
      } catch {
        // It has ended in the meantime.
        return []
      }
    })
}

function listProcesses(): Process[] {
  const lines = execFileSync('ps', ['-axww', '-o', 'pid=,uid=,command='], { encoding: 'utf8' }).trim().split('\n')
  return lines.map((line) => {
    const [pid, uid, program = ''] = line.trim().split(/\s+/)
    return { pid: Number(pid), uid: Number(uid), program, command: line }
  })
}

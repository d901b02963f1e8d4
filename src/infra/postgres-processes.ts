import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

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
  const pidFile = join(cluster, 'postmaster.pid')
  if (!existsSync(pidFile)) return
  const name = clusterName(cluster)
  const postmaster = Number(readFileSync(pidFile, 'utf8').split('\n')[0])
  const isPostmasterGone = () => !processesOf(name).includes(postmaster)
  const isAllGone = () => processesOf(name).length === 0
  if (!isPostmasterGone()) {
    signal(postmaster, 'SIGINT')
    await becomesTrue(isPostmasterGone, SHUTDOWN_PATIENCE_MS)
  }
  if (!(await becomesTrue(isAllGone, ORPHAN_PATIENCE_MS))) {
    for (const pid of processesOf(name)) signal(pid, 'SIGKILL')
    if (!(await becomesTrue(isAllGone, KILL_PATIENCE_MS))) {
      throw new Error(`PostgreSQL still runs in ${cluster}, and cannot be stopped`)
    }
  }
  forgetPostmaster(pidFile)
}

/** The port of the PostgreSQL that accepts connections on this cluster; null when none does. */
export function portOfRunning(cluster: string): number | null {
  const pidFile = join(cluster, 'postmaster.pid')
  if (!existsSync(pidFile)) return null
  const [pid, , , port, , , , status] = readFileSync(pidFile, 'utf8').split('\n')
  const isReady = status?.trim() === 'ready' && processesOf(clusterName(cluster)).includes(Number(pid))
  return isReady ? Number(port) : null
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
function forgetPostmaster(pidFile: string): void {
  if (!existsSync(pidFile)) return
  const [, ...rest] = readFileSync(pidFile, 'utf8').split('\n')
  writeFileSync(pidFile, [NO_SUCH_PROCESS, ...rest].join('\n'))
}

/** A postmaster keeps its arguments; its children call themselves `postgres: <cluster name>: <what they do>`. */
function processesOf(name: string): number[] {
  const all = process.platform === 'linux' ? listProcessesOnLinux() : listProcesses()
  return all
    .filter(({ program, command }) => /^postgres(:|$)/.test(basename(program)) && command.includes(name))
    .map(({ pid }) => pid)
}

interface Process {
  pid: number
  program: string
  command: string
}

/** Small images have no ps. A zombie has an empty command line. */
function listProcessesOnLinux(): Process[] {
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .map((entry) => {
      const command = readCommandLine(entry)
      return { pid: Number(entry), program: command.split(/\0| /, 1)[0] ?? '', command }
    })
}

function readCommandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
  } catch {
    return ''
  }
}

function listProcesses(): Process[] {
  const lines = execFileSync('ps', ['-axww', '-o', 'pid=,command='], { encoding: 'utf8' }).trim().split('\n')
  return lines.map((line) => {
    const [pid = '', program = ''] = line.trim().split(/\s+/)
    return { pid: Number(pid), program, command: line }
  })
}

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Log } from '../ports.js'
import { type Account, POSTGRES_ENV } from './postgres-binaries.js'
import { clusterName, endOrphans } from './postgres-processes.js'

/** Longer than the recovery of a full write-ahead log takes. */
const START_TIMEOUT_MS = 120_000
const STOP_TIMEOUT_MS = 30_000
const REMEMBERED_LINES = 20

/**
 * PostgreSQL's name for the directory that it is started in. On Linux a link that needs no permission on the directories
 * above, so that another account can work below a directory such as /root.
 */
export const dataDirectoryOf = (cluster: string) => (process.platform === 'linux' ? '/proc/self/cwd' : cluster)

/**
 * Its standard input is a pipe from us. When this process ends, however it ends, the pipe closes, the watcher reads its
 * end, and PostgreSQL gets a fast shutdown. The shell itself lives exactly as long as PostgreSQL.
 */
const SUPERVISOR = `
trap '' INT TERM HUP
exec 3<&0
"$@" 3<&- </dev/null &
postgres=$!
(read -r line <&3; kill -INT $postgres) 2>/dev/null &
watcher=$!
wait $postgres
status=$?
kill -KILL $watcher 2>/dev/null
exit $status`

const SETTINGS = {
  // No port, which another account could take while nobody listens. The data directory is its owner's alone, and a path that
  // is relative to it is short, and needs no permission on the directories above.
  listen_addresses: '',
  unix_socket_directories: '.',
  port: '5432',
  max_connections: '100',
  shared_buffers: '64MB',
  // Failed statements are reported to the client; here they would only repeat personal data.
  log_min_messages: 'log',
  log_min_error_statement: 'panic',
  log_error_verbosity: 'terse',
}

export interface ServerOptions {
  postgres: string
  cluster: string
  account: Account
  flags: readonly string[]
  log: Log
}

export interface RunningServer {
  /** Resolves with the exit status (null: killed) when PostgreSQL has ended. */
  ended: Promise<number | null>
  /** Fast shutdown; resolves when PostgreSQL has ended. */
  stop(): Promise<void>
}

/** Starts PostgreSQL on an existing cluster; resolves when it accepts connections, rejects with its last words. */
export async function runPostgres(options: ServerOptions): Promise<RunningServer> {
  const { cluster, account, log } = options
  const child = spawn('/bin/sh', ['-c', SUPERVISOR, 'sh', options.postgres, ...argumentsFor(options)], {
    ...account,
    cwd: cluster,
    env: POSTGRES_ENV,
    stdio: ['pipe', 'ignore', 'pipe'],
    // Its own session: Ctrl-C in a terminal reaches us, and we decide when the database ends.
    detached: true,
  })
  const ended = once(child, 'exit').then(([status]: (number | null)[]) => status ?? null)
  // A watcher that is already gone breaks the pipe; `ended` says what is to be said.
  child.stdin?.on('error', () => undefined)
  try {
    await becomesReady(child, ended, log)
  } catch (error) {
    await stop(child, ended, cluster)
    throw error
  }
  unref(child)
  return { ended, stop: () => stop(child, ended, cluster) }
}

function argumentsFor({ cluster, flags }: ServerOptions): string[] {
  const settings = { ...SETTINGS, cluster_name: clusterName(cluster) }
  const given = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  return ['-D', dataDirectoryOf(cluster), ...given, ...flags]
}

async function becomesReady(child: ChildProcess, ended: Promise<number | null>, log: Log): Promise<void> {
  const lines: string[] = []
  const ready = new Promise<'ready'>((onReady) => {
    if (!child.stderr) return
    // Also after the start: a full pipe would block the database.
    createInterface({ input: child.stderr }).on('line', (line) => {
      lines.splice(0, lines.push(line) - REMEMBERED_LINES)
      if (/\b(FATAL|PANIC): /.test(line)) log.warn({ line }, 'Message from the embedded database')
      else log.debug({ line }, 'Message from the embedded database')
      if (line.includes('ready to accept connections')) onReady('ready')
    })
  })
  const timeout = new AbortController()
  const late = sleep(START_TIMEOUT_MS, 'late' as const, { signal: timeout.signal, ref: false })
  try {
    const outcome = await Promise.race([ready, ended, late])
    if (outcome === 'ready') return
    const what = outcome === 'late' ? 'did not become ready' : `ended with status ${outcome}`
    throw new Error(`The embedded database ${what}:\n${lines.join('\n')}`)
  } finally {
    late.catch(() => undefined)
    timeout.abort()
  }
}

/** The database is no reason for this process to live on: it ends with it. */
function unref(child: ChildProcess): void {
  child.unref()
  for (const stream of [child.stdin, child.stderr]) if (stream instanceof Socket) stream.unref()
}

async function stop(child: ChildProcess, ended: Promise<number | null>, cluster: string): Promise<void> {
  child.ref()
  child.stdin?.end()
  // The child keeps this process: once it has ended, the rest of the time must not.
  const late = sleep(STOP_TIMEOUT_MS, 'late' as const, { ref: false })
  if ((await Promise.race([ended, late])) === 'late') await endOrphans(cluster)
  await ended
}

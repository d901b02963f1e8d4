import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, constants, fchownSync, ftruncateSync, openSync, statSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'
import { openPlainFile } from './plain-file.js'

/** open(2) flags of macOS that take the lock in the same step; Node has no names for them. */
const DARWIN_EXLOCK = 0x20
const OWNER_ONLY = 0o600

/**
 * Takes an exclusive lock on a file, which then holds this process's id; null when another process has the lock.
 * The kernel releases it when the process ends, however it ends, so that there is no stale lock and no reused id.
 */
export async function tryLockFile(path: string): Promise<(() => void) | null> {
  const fd = process.platform === 'darwin' ? openLockedOnDarwin(path) : await openLocked(path)
  if (fd === null) return null
  ftruncateSync(fd)
  writeSync(fd, `${process.pid}\n`)
  return () => closeSync(fd)
}

const isTaken = (error: unknown) => error instanceof Error && 'code' in error && error.code === 'EEXIST'

/** A new file, which root makes for the owner of the directory: it is to be his after root has used it. */
function make(path: string, flags: number): number {
  const fd = openSync(path, flags | constants.O_CREAT | constants.O_EXCL, OWNER_ONLY)
  const { uid, gid } = statSync(dirname(path))
  if (process.getuid?.() === 0) fchownSync(fd, uid, gid)
  return fd
}

function openOwn(path: string, more = 0): number {
  const flags = constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW | more
  try {
    return make(path, flags)
  } catch (error) {
    if (!isTaken(error)) throw error
  }
  return openPlainFile(path, flags)
}

/**
 * Node has no flock(2). A lock belongs to the open file and not to the process that asked for it: flock(1) takes it on
 * our descriptor and exits, and the lock stays ours. Descriptors are close-on-exec: no other child keeps it.
 */
async function openLocked(path: string): Promise<number | null> {
  const fd = openOwn(path)
  try {
    const status = await runFlock(fd)
    if (status === 0) return fd
    if (status !== 1) throw new Error(`Cannot lock ${path}: flock ended with status ${status}`)
  } catch (error) {
    closeSync(fd)
    throw error
  }
  closeSync(fd)
  return null
}

async function runFlock(fd: number): Promise<number | null> {
  const child = spawn('flock', ['-n', '3'], { stdio: ['ignore', 'ignore', 'ignore', fd] })
  try {
    const [status] = (await once(child, 'exit')) as [number | null]
    return status
  } catch (error) {
    throw new Error('The program flock (package util-linux) is needed to guard the data directory', { cause: error })
  }
}

function openLockedOnDarwin(path: string): number | null {
  try {
    return openOwn(path, DARWIN_EXLOCK)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EAGAIN') return null
    throw error
  }
}

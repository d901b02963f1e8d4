import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { tryLockFile } from './file-lock.js'

const OWNER_ONLY_DIRECTORY = 0o700
const ATTEMPTS = 240
const RETRY_MS = 250

/**
 * Whoever starts the embedded database ends it: those that would start it come one after the other, commands until they
 * end, servers until they serve. Returns what unlocks it. Throws after a minute.
 */
export async function lockStart(dataDir: string, onWaiting: () => void): Promise<() => void> {
  if (process.platform === 'win32') throw new Error('There is no embedded PostgreSQL on Windows: set DATABASE_URL')
  mkdirSync(dataDir, { recursive: true, mode: OWNER_ONLY_DIRECTORY })
  const lock = join(dataDir, 'command.lock')
  for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
    const end = await tryLockFile(lock)
    if (end) return end
    if (attempt === 1) onWaiting()
    await sleep(RETRY_MS)
  }
  const owner = readFileSync(lock, 'utf8').trim()
  throw new Error(
    `Another command, or a server that starts, still uses ${dataDir} (process ${owner}): wait for its end`,
  )
}

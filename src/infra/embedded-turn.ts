import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { tryLockFile } from './file-lock.js'

const OWNER_ONLY_DIRECTORY = 0o700
const ATTEMPTS = 240
const RETRY_MS = 250

/**
 * Whoever starts the embedded database ends it: those that would start it for a moment come one after the other. Returns
 * the function that ends the turn. Throws after a minute.
 */
export async function takeTurn(dataDir: string, onWaiting: () => void): Promise<() => void> {
  mkdirSync(dataDir, { recursive: true, mode: OWNER_ONLY_DIRECTORY })
  for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
    const end = await tryLockFile(join(dataDir, 'command.lock'))
    if (end) return end
    if (attempt === 1) onWaiting()
    await sleep(RETRY_MS)
  }
  throw new Error(`Another command still uses ${dataDir}`)
}

import { randomBytes } from 'node:crypto'
import { availableParallelism } from 'node:os'
import type { Hashing, PasswordHasher } from '../ports.js'
import { createWorkerPool } from './worker-pool.js'

export interface HashingOptions {
  memoryKib: number
  iterations: number
  parallelism: number
  /** How many passwords may wait while every thread is busy. */
  queueLength: number
}

// Hashes of argon2 before 1.3 carry no version.
const PHC = /^\$(argon2(?:id|i|d))(?:\$v=(\d+))?\$([a-z0-9=,]+)\$([A-Za-z0-9+/]{11,})\$([A-Za-z0-9+/]{16,})$/

const SALT_BYTES = 16
const HASH_BYTES = 32

interface Phc {
  variant: string
  version: number
  costs: Map<string, number>
}

/** The parameters of a PHC string, in whatever order it names them. Null when it is not one of argon2. */
function parsePhc(encoded: string): Phc | null {
  const [, variant, version, costs] = PHC.exec(encoded) ?? []
  if (!variant || !costs) return null
  const pairs = costs.split(',').map((cost): [string, number] => {
    const [name = '', value] = cost.split('=')
    return [name, Number(value)]
  })
  const parsed = new Map(pairs)
  const isComplete = ['m', 't', 'p'].every((name) => Number.isSafeInteger(parsed.get(name)))
  return isComplete ? { variant, version: Number(version ?? 16), costs: parsed } : null
}

/** Chance in the place of what a password makes: of 256 bits none is found that makes it. */
function unusableHash({ memoryKib, iterations, parallelism }: Omit<HashingOptions, 'queueLength'>): string {
  const chance = (bytes: number) => randomBytes(bytes).toString('base64').replace(/=+$/, '')
  return `$argon2id$v=19$m=${memoryKib},t=${iterations},p=${parallelism}$${chance(SALT_BYTES)}$${chance(HASH_BYTES)}`
}

/**
 * argon2id on as many threads as there are cores, below the priority of the event loop, and with a bounded queue.
 * `depth` is the number of passwords that wait for a thread. `close` waits for what was accepted.
 */
export function createPasswordHasher({
  queueLength,
  ...parameters
}: HashingOptions): PasswordHasher & { close(): Promise<void>; depth(): number } {
  const threads = availableParallelism()
  const pool = createWorkerPool({
    file: './hash-worker.js',
    threads,
    // The first logins after a start come together.
    isEager: true,
    queueLength,
  })
  const hashing: Hashing = {
    hash: (password) => pool.run('hash', { password, parameters }),
    verify: async (encoded, password) => parsePhc(encoded) !== null && pool.run('verify', { encoded, password }),
  }

  return {
    hash: (password) => pool.inPlace(() => hashing.hash(password)),
    verify: (encoded, password) => pool.inPlace(() => hashing.verify(encoded, password)),
    // They keep one thread busy, whatever their number.
    share: Math.ceil((threads + queueLength) / 4),
    inPlace: (work) => pool.inPlace(() => work(hashing)),
    unusable: unusableHash(parameters),
    needsRehash: (encoded) => {
      const phc = parsePhc(encoded)
      if (phc?.variant !== 'argon2id' || phc.version !== 19) return true
      const { memoryKib, iterations, parallelism } = parameters
      const wanted = { m: memoryKib, t: iterations, p: parallelism }
      return Object.entries(wanted).some(([name, cost]) => phc.costs.get(name) !== cost)
    },
    depth: pool.depth,
    close: pool.close,
  }
}

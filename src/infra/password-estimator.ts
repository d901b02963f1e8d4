import type { PasswordEstimator } from '../ports.js'
import { createWorkerPool } from './worker-pool.js'

const QUEUE_LENGTH = 100

/**
 * zxcvbn with the common and the English dictionaries, on a thread of its own. To read them is half a second of work, and
 * 50 MB: unless `isEager`, the thread comes when somebody chooses a password, and goes a minute after the last one.
 */
export function createPasswordEstimator(isEager = false): PasswordEstimator & { close(): Promise<void> } {
  const pool = createWorkerPool({ file: './estimate-worker.js', threads: 1, isEager, queueLength: QUEUE_LENGTH })
  return {
    estimate: (password, words) => pool.inPlace(() => pool.run('estimate', { password, words })),
    close: pool.close,
  }
}

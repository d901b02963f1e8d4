import type { PasswordEstimator } from '../ports.js'
import { createWorkerPool } from './worker-pool.js'

const QUEUE_LENGTH = 100

/** zxcvbn with the common and the English dictionaries, on a thread of its own. */
export function createPasswordEstimator(): PasswordEstimator & { close(): Promise<void> } {
  const pool = createWorkerPool({ file: './estimate-worker.js', threads: 1, isEager: false, queueLength: QUEUE_LENGTH })
  return {
    estimate: (password, words) => pool.run('estimate', { password, words }),
    close: pool.close,
  }
}

import { fileURLToPath } from 'node:url'
import { Piscina } from 'piscina'
import { ServiceUnavailableError } from '../errors.js'

const IDLE_MS = 60_000

export interface WorkerPoolOptions {
  /** Plain JavaScript beside this file, so that the same one runs from src/ and from dist/. */
  file: string
  threads: number
  /** Whether all threads run from the start; otherwise they come when they are needed, and go when they are idle. */
  isEager: boolean
  /** How many tasks may wait while every thread is busy. */
  queueLength: number
}

/**
 * Threads below the priority of the event loop, with a bounded queue: past it, ServiceUnavailableError. `depth` is the
 * number of tasks that wait; `close` waits for what was accepted.
 */
export function createWorkerPool({ file, threads, isEager, queueLength }: WorkerPoolOptions) {
  const pool = new Piscina({
    filename: fileURLToPath(new URL(file, import.meta.url)),
    minThreads: isEager ? threads : 0,
    maxThreads: threads,
    idleTimeout: IDLE_MS,
    // Without limits a thread's heap grows to tens of megabytes of garbage.
    resourceLimits: { maxYoungGenerationSizeMb: 4, maxOldGenerationSizeMb: 256 },
    niceIncrement: 15,
    // Loaders and inspectors of the main thread are of no use there, and its environment holds secrets.
    execArgv: [],
    env: {},
  })
  const accepted = new Set<Promise<unknown>>()
  let isClosed = false

  function assertRoom(): void {
    if (isClosed || accepted.size >= threads + queueLength) throw new ServiceUnavailableError()
  }

  return {
    assertRoom,
    /** Calls the named export of the file with the task. */
    run: async <T>(name: string, task: object): Promise<T> => {
      assertRoom()
      const work: Promise<T> = pool.run(task, { name })
      accepted.add(work)
      try {
        return await work
      } finally {
        accepted.delete(work)
      }
    },
    depth: () => Math.max(0, accepted.size - threads),
    close: async (): Promise<void> => {
      isClosed = true
      await Promise.allSettled(accepted)
      await pool.destroy()
    },
  }
}

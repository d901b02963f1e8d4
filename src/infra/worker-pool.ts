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
  /** How much work may wait while every thread is busy. */
  queueLength: number
}

/**
 * Threads below the priority of the event loop, with a bounded queue. `depth` is the number of tasks that wait; `close`
 * waits for those that were begun.
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
  const tasks = new Set<Promise<unknown>>()
  let places = threads + queueLength
  let isClosed = false
  const refuse = (): never => {
    throw new ServiceUnavailableError(isClosed ? 'The server stops' : `The queue of ${file} is full`)
  }

  return {
    /** Does work that has one task after the other. Throws ServiceUnavailableError, before any of it, when there is no place. */
    inPlace: async <T>(work: () => Promise<T>): Promise<T> => {
      if (isClosed || places === 0) refuse()
      places -= 1
      try {
        return await work()
      } finally {
        places += 1
      }
    },
    /** Calls the named export of the file with the task: only for work that has a place. */
    run: async <T>(name: string, task: object): Promise<T> => {
      if (isClosed) refuse()
      const running: Promise<T> = pool.run(task, { name })
      tasks.add(running)
      try {
        return await running
      } finally {
        tasks.delete(running)
      }
    },
    depth: () => Math.max(0, tasks.size - threads),
    close: async (): Promise<void> => {
      isClosed = true
      await Promise.allSettled(tasks)
      await pool.destroy()
    },
  }
}

import { writeSync } from 'node:fs'

/** What waits for a reader who pauses, or for space on a disk that is full. What comes beyond it is lost. */
const MAX_WAITING_BYTES = 4 * 1024 * 1024
const RETRY_MS = 50
/** At the end of the process, for a reader who is slow. */
const EXIT_PATIENCE_MS = 1_000
const EXIT_POLL_MS = 5

const isAgain = (error: unknown) => error instanceof Error && 'code' in error && error.code === 'EAGAIN'

/**
 * Writes lines to standard output or error, at once and in order, and never waits: what cannot be written now is tried
 * again, and past 4 MiB lines are lost rather than the server. `onLoss` hears how many, when writing goes on. Takes the
 * stream itself: Node makes its pipe or socket answer EAGAIN when it is full. Files and terminals are written to as usual.
 */
export function createLogOutput({ fd }: { fd: number }, onLoss: (lines: number) => void) {
  const waiting: Buffer[] = []
  let waitingBytes = 0
  let lost = 0
  let isRetrying = false

  /** Writes what waits, for as long as that is possible. Gives the error that ended it, or null. */
  function drain(): unknown {
    try {
      for (let chunk = waiting[0]; chunk; chunk = waiting[0]) {
        const count = writeSync(fd, chunk)
        waitingBytes -= count
        if (count === chunk.length) waiting.shift()
        else waiting[0] = chunk.subarray(count)
      }
      return null
    } catch (error) {
      return error
    }
  }

  function flush(): void {
    if (drain() !== null) {
      retryLater()
      return
    }
    const lines = lost
    lost = 0
    if (lines > 0) onLoss(lines)
  }

  function retryLater(): void {
    if (isRetrying) return
    isRetrying = true
    setTimeout(() => {
      isRetrying = false
      flush()
    }, RETRY_MS).unref()
  }

  process.on('exit', () => {
    const pause = new Int32Array(new SharedArrayBuffer(4))
    const deadline = performance.now() + EXIT_PATIENCE_MS
    while (isAgain(drain()) && performance.now() < deadline) Atomics.wait(pause, 0, 0, EXIT_POLL_MS)
  })

  return {
    write(line: string): void {
      const chunk = Buffer.from(line)
      if (waitingBytes + chunk.length > MAX_WAITING_BYTES) {
        lost += 1
      } else {
        waiting.push(chunk)
        waitingBytes += chunk.length
      }
      flush()
    },
  }
}

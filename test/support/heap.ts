import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')
const collect: () => void = runInNewContext('gc')

/** What this process, the server in it included, holds in memory, outside of the heap as well. */
export function heldBytes(): number {
  collect()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

/** Megabytes that this process, the server in it included, still holds on to after the work is done. */
export async function heldAfter(work: () => Promise<unknown>): Promise<number> {
  collect()
  const before = process.memoryUsage().heapUsed
  await work()
  collect()
  return (process.memoryUsage().heapUsed - before) / 2 ** 20
}

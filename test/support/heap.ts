import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')
const collect: () => void = runInNewContext('gc')

/** Megabytes that this process, the server in it included, still holds on to after the work is done. */
export async function heldAfter(work: () => Promise<unknown>): Promise<number> {
  collect()
  const before = process.memoryUsage().heapUsed
  await work()
  collect()
  return (process.memoryUsage().heapUsed - before) / 2 ** 20
}

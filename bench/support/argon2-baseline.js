// What the machine can do at best: verifications of one argon2id hash, one thread on every core, with the implementation
// that the server uses and at the priority of its hashing, so that whatever else runs here slows down both alike.
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'

const require = createRequire(import.meta.url)

/** @typedef {{ hash: string, password: string, ms: number }} Question */

/** @param {string} name */
function load(name) {
  try {
    return require(name)
  } catch {
    return null
  }
}

/** @param {Question} question */
async function countVerifications({ hash, password, ms }) {
  load('@napi-rs/nice')?.nice(15)
  const fast = load('@node-rs/argon2')
  const verify = fast ? fast.verifySync : require('argon2').verify
  if (!(await verify(hash, password))) throw new Error('The hash is not that of the password')
  const startedAt = performance.now()
  let count = 0
  while (performance.now() - startedAt < ms) {
    await verify(hash, password)
    count += 1
  }
  return (count * 1000) / (performance.now() - startedAt)
}

/** @param {Question} question */
async function onAllCores(question) {
  const threads = Array.from({ length: availableParallelism() }, async () => {
    const [perSecond] = await once(new Worker(fileURLToPath(import.meta.url), { workerData: question }), 'message')
    return perSecond
  })
  const before = process.cpuUsage()
  const rates = await Promise.all(threads)
  const { user, system } = process.cpuUsage(before)
  const perSecond = rates.reduce((sum, rate) => sum + rate, 0)
  return { perSecond, cpuMs: (user + system) / 1000 / ((perSecond * question.ms) / 1000) }
}

if (isMainThread) {
  process.on('message', async (/** @type {Question} */ question) => process.send?.(await onAllCores(question)))
  // The process that started it looks after Ctrl-C.
  process.on('SIGINT', () => {})
  process.on('disconnect', () => process.exit())
} else {
  parentPort?.postMessage(await countVerifications(workerData))
}

// Runs on a thread of the pool in password-hasher.ts.
import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)
const ARGON2ID = 2

/** @typedef {{ memoryKib: number, iterations: number, parallelism: number }} Parameters */

// Optional, and twice as fast as the other one.
function loadFast() {
  try {
    return require('@node-rs/argon2')
  } catch {
    return null
  }
}
const fast = loadFast()
const portable = fast ? null : require('argon2')

/**
 * argon2id with 16 bytes of salt and 32 bytes of output, in PHC format.
 * @param {{ password: string, parameters: Parameters }} task
 * @returns {string | Promise<string>}
 */
export function hash({ password, parameters: { memoryKib, iterations, parallelism } }) {
  const cost = { memoryCost: memoryKib, timeCost: iterations, parallelism }
  return fast
    ? fast.hashSync(password, { ...cost, algorithm: ARGON2ID, outputLen: 32 })
    : portable.hash(password, { ...cost, type: ARGON2ID, hashLength: 32 })
}

/**
 * A hash that cannot be decoded is not a match.
 * @param {{ encoded: string, password: string }} task
 * @returns {Promise<boolean>}
 */
export async function verify({ encoded, password }) {
  try {
    return fast ? fast.verifySync(encoded, password) : await portable.verify(encoded, password)
  } catch {
    return false
  }
}

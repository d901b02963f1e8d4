import { execFile } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { promisify } from 'node:util'
import argon2 from 'argon2'
import { afterAll, expect, test } from 'vitest'
import { ServiceUnavailableError } from '../../src/errors.js'
import { createPasswordHasher } from '../../src/infra/password-hasher.js'

const execute = promisify(execFile)
const COST = { memoryKib: 1024, iterations: 2, parallelism: 1 }
const hasher = createPasswordHasher({ ...COST, queueLength: 50 })
afterAll(() => hasher.close())

test('a hash is argon2id in PHC format with 16 bytes of salt and 32 of output', async () => {
  const [first, second] = await Promise.all([hasher.hash('correct horse'), hasher.hash('correct horse')])
  expect(first).toMatch(/^\$argon2id\$v=19\$m=1024,t=2,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$/)
  expect(first).not.toBe(second)
})

test('hashes of this server verify with the argon2 package, and the other way round', async () => {
  const ours = await hasher.hash('pässwörd')
  expect(await argon2.verify(ours, 'pässwörd')).toBe(true)
  const theirs = await argon2.hash('pässwörd', { memoryCost: 2048, timeCost: 3, parallelism: 2 })
  expect(await hasher.verify(theirs, 'pässwörd')).toBe(true)
  expect(await hasher.verify(theirs, 'password')).toBe(false)
})

test('the hash that no password fits costs what every other one does', async () => {
  const form = (encoded: string) => encoded.replace(/[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$/, 'salt$hash')
  expect(form(hasher.unusable)).toBe(form(await hasher.hash('secret')))
  // It can be decoded, so that it is computed.
  expect(await argon2.verify(hasher.unusable, 'secret')).toBe(false)
})

/** The worker where the optional package is not installed. */
const WITHOUT_OPTIONAL = `
  const { Module } = await import('node:module')
  const load = Module._load
  Module._load = (name, ...others) => {
    if (name.startsWith('@node-rs/')) throw new Error('Not installed')
    return load(name, ...others)
  }
  const { hash, verify } = await import(process.argv[1])
  const [encoded, password] = process.argv.slice(2)
  const own = await hash({ password, parameters: { memoryKib: 1024, iterations: 2, parallelism: 1 } })
  const verified = await Promise.all([encoded, own, 'not a hash'].map((each) => verify({ encoded: each, password })))
  console.log(JSON.stringify({ own, verified }))`

test('where the faster package is not installed, the argon2 package hashes and verifies the same', async () => {
  const worker = new URL('../../src/infra/hash-worker.js', import.meta.url).href
  const ours = await hasher.hash('pässwörd')
  const run = (encoded: string, password: string) =>
    execute(process.execPath, ['--input-type=module', '-e', WITHOUT_OPTIONAL, worker, encoded, password])
  const { own, verified } = JSON.parse((await run(ours, 'pässwörd')).stdout)
  expect(verified).toEqual([true, true, false])
  expect(own).toMatch(/^\$argon2id\$v=19\$m=1024,t=2,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$/)
  expect(hasher.needsRehash(own)).toBe(false)
  expect(await hasher.verify(own, 'pässwörd')).toBe(true)
  expect(JSON.parse((await run(ours, 'password')).stdout).verified).toEqual([false, true, false])
})

test('the order of the parameters does not matter', async () => {
  const swapped = (await hasher.hash('secret')).replace('t=2,p=1', 'p=1,t=2')
  expect(await hasher.verify(swapped, 'secret')).toBe(true)
  expect(hasher.needsRehash(swapped)).toBe(false)
})

test.each([
  ['empty', ''],
  ['text', 'not a hash'],
  ['bcrypt', '$2b$12$abcdefghijklmnopqrstuv'],
  ['truncated', '$argon2id$v=19$m=1024,t=2,p=1$c2FsdHNhbHQ'],
  ['without a cost', '$argon2id$v=19$m=1024,t=2$c2FsdHNhbHRzYWx0c2E$aGFzaGhhc2hoYXNoaGFzaA'],
  ['impossible costs', '$argon2id$v=19$m=1,t=0,p=99$c2FsdHNhbHRzYWx0c2E$aGFzaGhhc2hoYXNoaGFzaA'],
])('a malformed hash is not a match: %s', async (_, encoded) => {
  expect(await hasher.verify(encoded, 'secret')).toBe(false)
  expect(hasher.needsRehash(encoded)).toBe(true)
})

test('a hash that cannot be decoded is not a match', async () => {
  expect(await hasher.verify('$argon2id$v=19$m=1024,t=2,p=1$c2FsdHNhbHRzYWx0c$aGFzaGhhc2hoYXNoaGFza', 'secret')).toBe(
    false,
  )
})

test.each([
  ['another memory', '$argon2id$v=19$m=2048,t=2,p=1$'],
  ['other iterations', '$argon2id$v=19$m=1024,t=3,p=1$'],
  ['another parallelism', '$argon2id$v=19$m=1024,t=2,p=4$'],
  ['an older version', '$argon2id$v=16$m=1024,t=2,p=1$'],
  ['another variant', '$argon2i$v=19$m=1024,t=2,p=1$'],
])('a hash with %s needs a new one', (_, start) => {
  const tail = 'c2FsdHNhbHRzYWx0c2E$aGFzaGhhc2hoYXNoaGFzaA'
  expect(hasher.needsRehash(start + tail)).toBe(true)
  expect(hasher.needsRehash(`$argon2id$v=19$m=1024,t=2,p=1$${tail}`)).toBe(false)
})

test('past its queue the pool refuses at once, and works on afterwards', async () => {
  const small = createPasswordHasher({ memoryKib: 19456, iterations: 2, parallelism: 1, queueLength: 3 })
  const capacity = availableParallelism() + 3
  const outcomes = Array.from({ length: capacity + 5 }, () => small.hash('secret'))
  expect(small.depth()).toBe(3)
  const settled = await Promise.allSettled(outcomes)
  const refused = settled.filter((outcome) => outcome.status === 'rejected')
  expect(refused).toHaveLength(5)
  for (const outcome of refused) expect(outcome.reason).toBeInstanceOf(ServiceUnavailableError)
  expect(small.depth()).toBe(0)
  expect(await small.hash('secret')).toMatch(/^\$argon2id\$/)
  await small.close()
  await expect(small.hash('secret')).rejects.toBeInstanceOf(ServiceUnavailableError)
})

test('closing waits for what was accepted', async () => {
  const pool = createPasswordHasher({ ...COST, queueLength: 10 })
  const accepted = Array.from({ length: 5 }, () => pool.hash('secret'))
  await pool.close()
  expect(await Promise.all(accepted)).toHaveLength(5)
})

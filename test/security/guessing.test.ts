import type { DocumentNode } from 'graphql'
import { print } from 'graphql'
import { describe, expect, test, vi } from 'vitest'
import { NEXT_PASSWORD, PASSWORD, startApp } from '../support/app.js'
import { createClient, expectType } from '../support/client.js'
import { openDatabase } from '../support/database.js'
import { lockDatabase } from '../support/database-lock.js'
import {
  LoginDocument,
  RegisterDocument,
  RequestPasswordResetDocument,
  ResendVerificationEmailDocument,
  ResetPasswordDocument,
  VerifyEmailDocument,
} from '../support/generated/graphql.js'
import { createInstallation } from '../support/installation.js'
import { proofOf, SUBJECTS } from '../support/mailbox.js'
import { hasRedis, startRedis } from '../support/redis-server.js'
import { processEnv, START_MS, startProcess } from '../support/server-process.js'

vi.setConfig({ testTimeout: 2 * START_MS })

// One installation: one server whose limits stand in nobody's way, and one with the limits that it has by default.
const ISSUER = { JWT_ISSUER: 'https://auth.example', JWT_AUDIENCE: 'https://auth.example' }
const unlimited = await startApp({ env: ISSUER })
const app = await startApp({ env: { ...ISSUER, RATE_LIMITS: '' }, beside: unlimited })

let addresses = 0
function newAddress(): string {
  addresses += 1
  return `198.51.100.${addresses}`
}
const from = (address: string, { anonymous }: Pick<typeof app, 'anonymous'> = app) =>
  anonymous.with({ 'x-forwarded-for': address })
const bodyOf = (operation: DocumentNode, input: object) =>
  JSON.stringify({ query: print(operation), variables: { input } })
const guess = (identifier: string) => bodyOf(LoginDocument, { identifier, password: NEXT_PASSWORD })

test.skipIf(!hasRedis)('of 200 calls at once over two processes exactly as many pass as a limit allows', async () => {
  const redis = await startRedis()
  const { databaseUrl } = await createInstallation()
  const env = processEnv({ DATABASE_URL: databaseUrl, REDIS_URL: redis.url, RATE_LIMITS: '' })
  const processes = [startProcess(env), startProcess(env)]
  const clients = (await Promise.all(processes.map(({ ready }) => ready))).map((url) =>
    createClient((init) => fetch(`${url}/graphql`, init)),
  )
  /** How many of 200 calls pass, and that the rest are refused. */
  async function passing(call: (number: number) => string): Promise<number> {
    const headers = { 'x-forwarded-for': newAddress() }
    const calls = Array.from({ length: 200 }, (_, number) => clients[number % 2]?.post(call(number), headers))
    const statuses = (await Promise.all(calls)).map((answer) => answer?.status)
    expect(statuses.every((status) => status === 200 || status === 429)).toBe(true)
    return statuses.filter((status) => status === 200).length
  }
  expect(await passing(() => guess('nobody@example.com'))).toBe(5)
  expect(await passing((number) => guess(`nobody${number}@example.com`))).toBe(25)
  const verify = JSON.stringify({ query: 'mutation { verifyToken(input: { token: "x" }) { __typename } }' })
  expect(await passing(() => verify)).toBe(100)
})

/** Whoever writes a guess down waits for a lock first. */
const HOLD_GUESSES = `
  CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock_shared(4); RETURN NEW; END';
  CREATE TRIGGER hold BEFORE INSERT ON code_guesses FOR EACH ROW EXECUTE FUNCTION hold()`

describe('of 40 guesses at once over two processes', async () => {
  const beside = await startApp({ env: ISSUER, beside: unlimited })
  const either = (index: number) => (index % 2 === 0 ? unlimited : beside).anonymous

  test('five are compared with a code, which is dead then', async () => {
    const { email } = await unlimited.register()
    const { code } = proofOf(await unlimited.mail(email, SUBJECTS.verification))
    const { query } = await openDatabase(unlimited.installation)
    const verify = (index: number, by = 0) =>
      either(index).call(VerifyEmailDocument, {
        input: { email, code: String((Number(code) + by) % 1_000_000).padStart(6, '0') },
      })
    for (let index = 0; index < 4; index += 1) expectType(await verify(index, index + 1), 'InvalidTokenError')
    // What would be the fifth of each process: neither is written down before both have begun.
    await query(HOLD_GUESSES)
    const lock = await lockDatabase(unlimited.installation, 'SELECT pg_advisory_xact_lock(4)')
    const others = Promise.all(Array.from({ length: 36 }, (_, index) => verify(index, index + 5)))
    await lock.untilWaiting(2)
    await lock.release()
    for (const result of await others) expectType(result, 'InvalidTokenError')
    const { rows } = await query('SELECT sum(compared)::int AS compared FROM code_guesses')
    expect(rows).toEqual([{ compared: 5 }])
    expectType(await verify(0), 'InvalidTokenError')
  })

  test('six at most are judged by the password', async () => {
    const ada = await unlimited.newUser()
    await Promise.all(Array.from({ length: 40 }, (_, index) => either(index).post(guess(ada.email))))
    const failures = await unlimited.eventsOf(ada, { types: ['LOGIN_FAILED'] })
    const judged = failures.filter(({ metadata }) => metadata.reason === 'WRONG_PASSWORD')
    expect([5, 6]).toContain(judged.length)
  })
})

describe('spraying', () => {
  test('one password over many accounts is refused an address after 25, whatever it writes before itself', async () => {
    const known = await Promise.all([unlimited.newUser(), unlimited.newUser(), unlimited.newUser()])
    const address = newAddress()
    const answers = []
    for (let number = 0; number < 35; number += 1) {
      const identifier = number % 10 === 0 ? (known[number / 10]?.email ?? '') : `account${number}@example.com`
      answers.push(await from(`203.0.113.${number}, ${address}`).post(guess(identifier)))
    }
    expect(answers.slice(0, 25).filter(({ errors }) => errors.length > 0)).toEqual([])
    expect(answers.slice(25).map(({ status }) => status)).toEqual(new Array(10).fill(429))
  })

  test('from the addresses of one IPv6 network counts as from one', async () => {
    const answers = []
    for (let number = 0; number < 26; number += 1) {
      answers.push(await from(`2001:db8:5:6:${number}::${number}`).post(guess(`network${number}@example.com`)))
    }
    expect(answers.map(({ status }) => status)).toEqual([...new Array(25).fill(200), 429])
  })

  test.each(['known', 'unknown'])(
    'many passwords over one %s account is stopped after five, from any number of addresses',
    async (kind) => {
      const email = kind === 'known' ? (await unlimited.newUser()).email : 'nobody-at-all@example.com'
      const names = []
      for (let number = 0; number < 30; number += 1) {
        const input = { identifier: email, password: NEXT_PASSWORD }
        names.push((await from(newAddress()).call(LoginDocument, { input })).__typename)
      }
      expect(names.slice(0, 4)).toEqual(new Array(4).fill('InvalidCredentialsError'))
      expect(names.slice(4)).toEqual(new Array(26).fill('AccountLockedError'))
      const input = { identifier: email, password: PASSWORD }
      expectType(await from(newAddress()).call(LoginDocument, { input }), 'AccountLockedError')
    },
  )
})

describe('limits and locks answer the same, to the header, whether or not there is such an account', () => {
  const TIMES = /"(lockedUntil|resetAt|retryAfterSeconds|retryAfter)":("[^"]*"|\d+)/g
  const CHANGING = new Set(['date', 'x-request-id', 'retry-after', 'ratelimit-reset'])

  /** What somebody sees who makes the calls, one after the other, from an address of his own. */
  async function seen(calls: readonly string[], identifiers: readonly string[]) {
    const client = from(newAddress())
    const answers = []
    for (const call of calls) {
      const { status, data, errors, headers } = await client.post(call)
      const text = identifiers.reduce((body, each) => body.replaceAll(each, '…'), JSON.stringify({ data, errors }))
      const kept = [...headers].filter(([name]) => !CHANGING.has(name))
      answers.push({ status, body: text.replace(TIMES, '"$1":"later"'), headers: kept })
    }
    return answers
  }

  const repeat = (times: number, call: string) => new Array<string>(times).fill(call)
  /** Addresses of one length, so that no length of an answer tells them apart. */
  let people = 1000
  const person = (domain = 'example.com') => {
    people += 1
    return `person-${people}@${domain}`
  }

  const verified = async () => (await unlimited.newUser({ email: person() })).email
  const waiting = async () => (await unlimited.register({ email: person() })).email
  const nobody = async () => person()

  test.each<[string, (email: string) => string[], readonly (() => Promise<string>)[]]>([
    ['login', (email) => repeat(8, guess(email)), [verified, waiting, nobody]],
    [
      'requestPasswordReset',
      (email) => repeat(5, bodyOf(RequestPasswordResetDocument, { email })),
      [verified, waiting, nobody],
    ],
    [
      'resendVerificationEmail',
      (email) => repeat(7, bodyOf(ResendVerificationEmailDocument, { email })),
      [verified, waiting, nobody],
    ],
    [
      'register',
      (email) =>
        repeat(
          7,
          bodyOf(RegisterDocument, { email, password: PASSWORD, termsAccepted: true, privacyPolicyAccepted: true }),
        ),
      [verified, waiting, nobody],
    ],
    [
      'verifyEmail',
      (email) => repeat(12, bodyOf(VerifyEmailDocument, { email, code: '000000' })),
      [verified, waiting, nobody],
    ],
    [
      'resetPassword',
      (email) => repeat(12, bodyOf(ResetPasswordDocument, { email, code: '000000', newPassword: NEXT_PASSWORD })),
      [verified, waiting, nobody],
    ],
  ])('%s', async (_, calls, kinds) => {
    const all = []
    for (const kind of kinds) {
      const email = await kind()
      all.push(await seen(calls(email), [email]))
    }
    const [first, ...others] = all
    expect(first?.at(-1)?.status).toBe(429)
    for (const other of others) expect(other).toEqual(first)
  })

  test('also where an account has two identifiers: the lock of one says nothing of the other', async () => {
    const ada = await unlimited.newUser({ username: 'twofold' })
    const lock = async (identifier: string) => {
      for (let time = 1; time <= 6; time += 1) await from(newAddress(), unlimited).post(guess(identifier))
    }
    const answers = []
    for (const [username, email] of [
      ['twofold', ada.email],
      ['nobody-at-all', 'nobody.at.all@example.com'],
    ] as const) {
      await lock(username)
      answers.push((await from(newAddress(), unlimited).post(guess(email))).data)
    }
    expect(answers[0]).toMatchObject({ login: { code: 'INVALID_CREDENTIALS' } })
    expect(answers[1]).toEqual(answers[0])
  })

  test('also for the spellings of one address, which share their limit and their lock', async () => {
    const spellings = (name: string) => [
      `${name}@gmail.com`,
      `${name.toUpperCase()}@Gmail.com`,
      `${name.slice(0, 3)}.${name.slice(3)}@gmail.com`,
      `${name}+tag@gmail.com`,
      `${name}@googlemail.com`,
      `${name}+other@GoogleMail.com`,
      `${name}\uff20gmail.com`,
    ]
    await unlimited.newUser({ email: 'known.hopper@gmail.com' })
    const all = []
    for (const name of ['knownhopper', 'otherhopper']) {
      const calls = spellings(name).map(guess)
      const answers = await seen(calls, spellings(name))
      expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200, 429, 429])
      expect(answers[4]?.body).toContain('AccountLockedError')
      // The lock is that of the address, not of its spelling or of who asks.
      const locked = await seen([guess(`${name.slice(0, 5)}.${name.slice(5)}+new@googlemail.com`)], [])
      expect(locked[0]?.body).toContain('AccountLockedError')
      all.push([answers, locked])
    }
    expect(all[1]).toEqual(all[0])
  })
})

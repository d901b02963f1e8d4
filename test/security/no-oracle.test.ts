import pg from 'pg'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { NEXT_PASSWORD, startApp } from '../support/app.js'
import { type Answer, type Client, expectType } from '../support/client.js'
import { lockDatabase } from '../support/database-lock.js'
import {
  LoginDocument,
  MeDocument,
  RegisterDocument,
  RequestPasswordResetDocument,
  ResendVerificationEmailDocument,
  ResetPasswordDocument,
  VerifyEmailDocument,
} from '../support/generated/graphql.js'
import { proofOf, SUBJECTS } from '../support/mailbox.js'
import { OBSERVED, observeRequests } from '../support/observation.js'

const app = await startApp()
const [REGISTERED, WRONG] = ['eleven borrowed umbrellas at dusk', NEXT_PASSWORD]

type Ask = (email: string, caller?: Client) => Promise<Answer<unknown>>
const asker = (caller = app.anonymous) => caller
const logInWith =
  (password: string): Ask =>
  (identifier, caller) =>
    asker(caller).execute(LoginDocument, { input: { identifier, password, tokenDelivery: 'BODY' } })
const logIn = logInWith(WRONG)
const register: Ask = (email, caller) =>
  asker(caller).execute(RegisterDocument, { input: app.newAccount({ email, password: REGISTERED }) })
const requestReset: Ask = (email, caller) => asker(caller).execute(RequestPasswordResetDocument, { input: { email } })
const resend: Ask = (email, caller) => asker(caller).execute(ResendVerificationEmailDocument, { input: { email } })
const failToLogIn = async (email: string, times: number) => {
  for (let time = 1; time <= times; time += 1) await logIn(email)
  return email
}
/** How a login with the password of a registration ends. */
const outcomeFor = async (email: string, password = REGISTERED) => {
  const input = { identifier: email, password, tokenDelivery: 'BODY' as const }
  return (await app.anonymous.call(LoginDocument, { input })).__typename
}

let addresses = 0
/** An address that nobody has used; all are of one length. */
function newAddress(): string {
  addresses += 1
  return `somebody${String(addresses).padStart(4, '0')}@example.com`
}
const established = async () => (await app.newUser({ email: newAddress() })).email
async function registered(email: string): Promise<string> {
  await register(email)
  await app.mailsTo(email)
  return email
}

/** Gives an address of each kind. */
const KINDS = {
  unknown: async () => newAddress(),
  known: established,
  unverified: () => registered(newAddress()),
  deactivated: async () => {
    const email = await established()
    await app.operator.deactivate(email)
    return email
  },
  locked: async () => failToLogIn(await established(), 5),
  'locked and unknown': () => failToLogIn(newAddress(), 5),
  'nearly locked': async () => failToLogIn(await established(), 4),
  'nearly locked and unknown': () => failToLogIn(newAddress(), 4),
  'nearly locked and unverified': async () => failToLogIn(await registered(newAddress()), 4),
  taken: async () => registered(await established()),
} satisfies Record<string, () => Promise<string>>
type Kind = keyof typeof KINDS
const EVERY_KIND: readonly Kind[] = ['known', 'unverified', 'locked', 'deactivated', 'taken']

/** What is asked, the kind that the others are compared with, and those others. */
const QUESTIONS: [string, Ask, Kind, readonly Kind[]][] = [
  ['login with a wrong password', logIn, 'unknown', ['known', 'unverified', 'deactivated', 'taken']],
  ['login with the password of a registration', logInWith(REGISTERED), 'unverified', ['taken']],
  ['login of a locked identifier', logIn, 'locked and unknown', ['locked']],
  ['login that locks', logIn, 'nearly locked and unknown', ['nearly locked', 'nearly locked and unverified']],
  ['register', register, 'unknown', EVERY_KIND],
  ['requestPasswordReset', requestReset, 'unknown', EVERY_KIND],
  ['resendVerificationEmail', resend, 'unknown', EVERY_KIND],
]

const OF_ONE_REQUEST = new Set(['date', 'x-request-id'])
const OF_ONE_CALL = /^ratelimit-(remaining|reset)$/

/** Everything that the caller sees, but for what tells one call from the next. */
function visible({ data, errors, status, headers }: Answer<unknown>, email: string) {
  const text = JSON.stringify({ data, errors }).replaceAll(email, 'the address')
  const body = text.replace(/"lockedUntil":"[^"]+","retryAfterSeconds":\d+/, '"lockedUntil":"later"')
  const seen = [...headers].filter(([name]) => !OF_ONE_REQUEST.has(name))
  return { body, status, headers: seen.map(([name, value]) => [name, OF_ONE_CALL.test(name) ? 'counts' : value]) }
}

test.each(QUESTIONS)('%s: no body, status or header tells who has an account', async (_, ask, baseline, others) => {
  const answerFor = async (kind: Kind) => {
    const email = await KINDS[kind]()
    return visible(await ask(email), email)
  }
  const expected = await answerFor(baseline)
  expect(expected.headers.map(([name]) => name)).toEqual(expect.arrayContaining(['content-length', 'ratelimit-limit']))
  for (const kind of others) expect(await answerFor(kind), kind).toEqual(expected)
})

test.each(QUESTIONS)('%s: the same statements and the same hashing for everybody', async (_, ask, baseline, others) => {
  const observed = observeRequests()
  const caller = app.anonymous.with(OBSERVED)
  const workFor = async (kind: Kind) => {
    await ask(await KINDS[kind](), caller)
    return observed.at(-1)
  }
  const expected = await workFor(baseline)
  expect(expected?.statements.join()).toMatch(/INSERT INTO/)
  for (const kind of others) expect(await workFor(kind), kind).toEqual(expected)
})

test('no failed login waits for the row of the account, which one without an account never does', async () => {
  const email = await established()
  await lockDatabase(app.installation, `SELECT FROM users WHERE email = '${email}' FOR UPDATE`)
  for (let time = 1; time <= 4; time += 1) expect(await outcomeFor(email, WRONG)).toBe('InvalidCredentialsError')
  expect(await outcomeFor(email, WRONG)).toBe('AccountLockedError')
})

describe('what a stranger does after registering an address comes out the same, free or taken', () => {
  /** Runs the steps for an address that is free and for one that is taken. */
  async function onBoth<T>(steps: (email: string) => Promise<T>): Promise<{ free: T; taken: T }> {
    return { free: await steps(newAddress()), taken: await steps(await established()) }
  }

  test('signing in with that password, or another, also once it is asked for the mail again', async () => {
    const { free, taken } = await onBoth(async (email) => {
      await registered(email)
      const outcomes = [await outcomeFor(email), await outcomeFor(email, WRONG)]
      await registered(email)
      await resend(email)
      await app.mailsTo(email)
      return [...outcomes, await outcomeFor(email)]
    })
    expect(free).toEqual(['EmailNotVerifiedError', 'InvalidCredentialsError', 'EmailNotVerifiedError'])
    expect(taken).toEqual(free)
  })

  test('being locked: registering lifts no lock, and its password counts as a failure', async () => {
    const { free, taken } = await onBoth(async (email) => {
      const outcomes: string[] = []
      await failToLogIn(email, 2)
      await registered(email)
      for (let time = 1; time <= 4; time += 1) outcomes.push(await outcomeFor(email))
      await registered(email)
      return [...outcomes, await outcomeFor(email)]
    })
    const locked = ['AccountLockedError', 'AccountLockedError', 'AccountLockedError']
    expect(free).toEqual(['EmailNotVerifiedError', 'EmailNotVerifiedError', ...locked])
    expect(taken).toEqual(free)
  })

  test('the username is reserved, and free again when the registration has expired', async () => {
    const { free, taken } = await onBoth(async (email) => {
      const username = `name${email.slice(8, 12)}`
      const claim = async (address: string) => {
        const input = app.newAccount({ email: address, username, password: REGISTERED })
        return (await app.anonymous.call(RegisterDocument, { input })).__typename
      }
      const claims = [await claim(email), await claim(newAddress())]
      const logins = [await outcomeFor(username), await outcomeFor(username, WRONG)]
      app.clock.advance('24h')
      await app.operator.purge()
      return [...claims, ...logins, await outcomeFor(email), await claim(newAddress())]
    })
    expect(free).toEqual([
      ...['RegisterSuccess', 'UsernameTakenError', 'EmailNotVerifiedError', 'InvalidCredentialsError'],
      ...['InvalidCredentialsError', 'RegisterSuccess'],
    ])
    expect(taken).toEqual(free)
  })
})

describe('registering an address that is taken', () => {
  test('makes nothing that could be verified, and leaves the account and its owner alone', async () => {
    const ada = await app.newUser({ email: newAddress() })
    const { code } = proofOf(await app.mail(ada.email, SUBJECTS.verification))
    await registered(ada.email)
    await resend(ada.email)
    await requestReset(ada.email)
    const reset = proofOf(await app.mail(ada.email, SUBJECTS.reset))
    const subjects = (await app.mailsTo(ada.email)).map(({ subject }) => subject)
    expect(subjects.sort()).toEqual([SUBJECTS.reset, SUBJECTS.verification, SUBJECTS.existingAccount])
    for (const input of [{ email: ada.email, code }, { email: ada.email, code: reset.code }, { token: reset.token }]) {
      expectType(await app.anonymous.call(VerifyEmailDocument, { input }), 'InvalidTokenError')
    }
    const database = new pg.Client(app.installation.databaseUrl)
    await database.connect()
    onTestFinished(() => database.end())
    const { rows } = await database.query(
      `SELECT u.pending_until IS NULL AS "isAccount", array_agg(t.purpose::text) AS purposes
       FROM users u JOIN one_time_tokens t ON t.user_id = u.id 
       WHERE u.email = $1 AND t.used_at IS NULL AND t.code_hash IS NOT NULL GROUP BY 1`,
      [ada.email],
    )
    expect(rows).toEqual([{ isAccount: true, purposes: ['PASSWORD_RESET'] }])
    expect((await ada.call(MeDocument))?.id).toBe(ada.id)
    await ada.logIn()
  })

  test('tells nobody by its end that the owner has been there', async () => {
    const email = await registered(await established())
    await requestReset(email)
    const { token } = proofOf(await app.mail(email, SUBJECTS.reset))
    const reset = { token, newPassword: 'nine copper kettles by dawn' }
    expectType(await app.anonymous.call(ResetPasswordDocument, { input: reset }), 'ResetPasswordSuccess')
    expect(await outcomeFor(email)).toBe('EmailNotVerifiedError')
  })

  test('is no way to guess its password without being locked out', async () => {
    const ada = await app.newUser({ email: newAddress() })
    const outcomes: string[] = []
    for (const guess of ['nine copper kettles by dawn', 'two velvet lanterns adrift', REGISTERED]) {
      await app.register({ email: ada.email, password: guess })
      outcomes.push(await outcomeFor(ada.email, guess), await outcomeFor(ada.email, guess))
    }
    expect(outcomes.slice(4)).toEqual(['AccountLockedError', 'AccountLockedError'])
  })
})

test('What a worker had done when it was lost is not done again', async () => {
  const { email } = await app.newUser({ email: newAddress() })
  const { query } = pg.Client.prototype
  let lost = 0
  // The queue hears nothing of the end of the job, as when the process is killed there.
  const losing = vi.spyOn(pg.Client.prototype, 'query').mockImplementation(function (
    this: pg.Client,
    ...args: unknown[]
  ) {
    const [text, values] = args as [unknown, unknown[] | undefined]
    const isEnd = typeof text === 'string' && /completed_on/.test(text) && values?.[0] === 'mail-request'
    if (!isEnd || lost > 0) return Reflect.apply(query, this, args)
    lost += 1
    const callback = args.find((arg) => typeof arg === 'function') as ((error: Error) => void) | undefined
    const error = new Error('The connection was lost')
    return callback ? callback(error) : Promise.reject(error)
  } as typeof query)
  onTestFinished(() => losing.mockRestore())
  const answer = await requestReset(email)
  await vi.waitUntil(() => lost > 0, { timeout: 15_000, interval: 5 })
  losing.mockRestore()
  expect(await app.eventsFrom(answer)).toEqual(['PASSWORD_RESET_REQUESTED'])
  expect((await app.mailsTo(email)).filter(({ subject }) => subject === SUBJECTS.reset)).toHaveLength(1)
})

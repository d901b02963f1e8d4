import { describe, expect, test, vi } from 'vitest'
import { PASSWORD, startApp } from '../support/app.js'
import { expectType } from '../support/client.js'
import { CheckPasswordDocument, RegisterDocument, type RegisterInput } from '../support/generated/graphql.js'
import { SUBJECTS } from '../support/mailbox.js'
import { startRangeServer } from '../support/range-server.js'

const ranges = await startRangeServer()
const app = await startApp({ env: { BREACH_CHECK_URL: ranges.url } })
const { anonymous } = app

const LONG = 'Vq7-mzt-KpW3-dxo-Ru5f-bhN9-ycQ2-wgL8-ejT4-saX6-ivB1-nkC0-plZ5-rdY7-uoF3-gtH9-xeM2-jwD8-zbS4-'

async function rulesOf(input: Partial<RegisterInput>) {
  const account = app.newAccount(input)
  const answer = await anonymous.execute(RegisterDocument, { input: account })
  const error = expectType(answer.data.register, 'WeakPasswordError')
  expect(error.code).toBe('WEAK_PASSWORD')
  expect(error.violations.every(({ message }) => message.length > 0)).toBe(true)
  return { account, answer, score: error.score, rules: error.violations.map(({ rule }) => rule).sort() }
}

describe('a new password', () => {
  test.each([
    ['shorter than 12 characters', 'kV7#qZ!9mW', ['TOO_SHORT']],
    ['longer than 128 characters', `${LONG}${LONG.slice(0, 40)}`, ['TOO_LONG']],
    ['easy to guess', 'aaaaaaaaaaaaaaaa', ['TOO_GUESSABLE']],
    ['among the most common', 'qwertyuiop12', ['COMMON', 'TOO_GUESSABLE']],
    ['common, and too short as well', 'password', ['COMMON', 'TOO_GUESSABLE', 'TOO_SHORT']],
  ] as const)('%s is refused, with every rule that it breaks', async (_, password, rules) => {
    expect((await rulesOf({ password })).rules).toEqual(rules)
  })

  test.each([
    ['the address', { email: 'katherine.johnson@example.com' }, 'quiet harbour katherine lantern 7'],
    ['the username', { username: 'moonshot61' }, 'over moonshot61 lantern harbour'],
    ['the first name', { firstName: 'Dorothy' }, 'quiet DOROTHY harbour lantern'],
    ['the last name', { lastName: 'Vaughan-Smith' }, 'quiet vaughan smith harbour lantern'],
    ['the display name', { displayName: 'Boss of all' }, 'lantern boss of all harbour 77'],
  ])('that contains %s of its owner is refused', async (_, owner, password) => {
    expect((await rulesOf({ ...owner, password })).rules).toContain('SIMILAR_TO_ACCOUNT')
    expectType(await anonymous.call(RegisterDocument, { input: app.newAccount({ password }) }), 'RegisterSuccess')
  })

  test('that is known from a breach is refused', async () => {
    ranges.breached.add('violet turnip under the staircase')
    const { rules } = await rulesOf({ password: 'violet turnip under the staircase' })
    expect(rules).toEqual(['BREACHED'])
  })

  test('that is refused leaves nothing behind but the event: address and username stay free', async () => {
    const { account, answer } = await rulesOf({ password: 'password', username: 'undecided' })
    expect(await app.eventsFrom(answer)).toEqual(['REGISTERED'])
    expect(await app.mailsTo(account.email)).toEqual([])
    await app.newUser({ ...account, password: PASSWORD })
  })

  test('is measured in characters, not in bytes', async () => {
    const elevenCharacters = '馬が川を静かに渡った夜'
    expect((await rulesOf({ password: elevenCharacters })).rules).toContain('TOO_SHORT')
    const { rules } = await rulesOf({ password: '🐎'.repeat(12) })
    expect(rules).not.toContain('TOO_SHORT')
  })
})

describe('where classes of characters are required', async () => {
  const strict = await startApp({ env: { PASSWORD_REQUIRED_CLASSES: 'upper,lower,digit,symbol' } })
  test.each([
    ['upper-case letter', 'amber lantern over 7 harbours'],
    ['lower-case letter', 'AMBER LANTERN OVER 7 HARBOURS'],
    ['digit', 'Amber lantern over harbours'],
    ['symbol', 'AmberLanternOver7Harbours'],
  ])('a password without a(n) %s is refused', async (_, password) => {
    const result = await strict.anonymous.call(RegisterDocument, { input: strict.newAccount({ password }) })
    const { violations } = expectType(result, 'WeakPasswordError')
    expect(violations.map(({ rule }) => rule)).toEqual(['MISSING_CHARACTER_CLASS'])
  })
  test('a password with all of them is taken', async () => {
    await strict.newUser({ password: 'Amber lantern over 7 harbours' })
  })
})

describe('checking a candidate', () => {
  test('gives its score and stores nothing', async () => {
    const answer = await anonymous.execute(CheckPasswordDocument, { input: { password: PASSWORD } })
    expect(answer.data.checkPassword).toEqual({ __typename: 'CheckPasswordSuccess', score: 4 })
    expect(await app.eventsFrom(answer)).toEqual([])
  })

  test.each([
    ['too short', { password: 'kV7#qZ!9mW' }, 'TOO_SHORT'],
    ['known from a breach', { password: 'eleven purple wagons northbound' }, 'BREACHED'],
    ['like the address', { password: 'quiet katherine lantern', email: 'katherine@example.com' }, 'SIMILAR_TO_ACCOUNT'],
    ['like the username', { password: 'quiet moonshot61 lantern', username: 'moonshot61' }, 'SIMILAR_TO_ACCOUNT'],
  ] as const)('says that it is %s', async (_, input, rule) => {
    ranges.breached.add('eleven purple wagons northbound')
    const error = expectType(await anonymous.call(CheckPasswordDocument, { input }), 'WeakPasswordError')
    expect(error.violations.map((violation) => violation.rule)).toContain(rule)
    expect(error.score).toBeGreaterThanOrEqual(0)
    expect(error.score).toBeLessThanOrEqual(4)
  })
})

describe('while the breach service is away', () => {
  test('registering waits two seconds at most, and a later job says that the password was breached', async () => {
    const password = 'paper boats on the winter canal'
    ranges.breached.add(password)
    ranges.silence(true)
    const startedAt = performance.now()
    const account = await app.register({ password })
    // The two seconds, and what registering takes on a busy machine; the service would never have answered.
    expect(performance.now() - startedAt).toBeLessThan(3500)

    // First: of a password that somebody else may have chosen with his address, nobody gets a mail.
    const ada = await app.verify(account)
    ranges.silence(false)
    const found = await vi.waitUntil(
      async () => (await app.eventsOf(ada, { types: ['PASSWORD_FOUND_IN_BREACH'] }))[0],
      { timeout: 60_000, interval: 50 },
    )
    expect(found).toMatchObject({ success: false, riskLevel: 'HIGH', userId: ada.id, ipAddress: null })
    const mails = (await app.mailsTo(ada.email)).filter(({ subject }) => subject === SUBJECTS.passwordInBreach)
    expect(mails).toHaveLength(1)
    expect(mails[0]?.text).toMatch(/^http:\S+\/reset-password$/m)
  })
})

/** Sixteen questions from one address, at once, about a password that takes long. The first of them is answered. */
async function startQuestions() {
  // The thread that judges gives way to all others: on a busy machine the last question waits for longer than usually allowed.
  const server = await startApp({ env: { RATE_LIMITS: '*=100000/1m', OPERATION_TIMEOUT: '1h' } })
  let answered = 0
  const input = { password: '1!|il71'.repeat(10) }
  const questions = Array.from({ length: 16 }, async () => {
    await server.anonymous.call(CheckPasswordDocument, { input })
    answered += 1
  })
  await Promise.any(questions)
  return { server, answered: () => answered, end: () => Promise.all(questions) }
}

test('Whoever chooses a password does not wait for all who ask about one', async () => {
  const { server, answered, end } = await startQuestions()
  expectType(await server.anonymous.call(RegisterDocument, { input: server.newAccount() }), 'RegisterSuccess')
  expect(answered()).toBeLessThan(8)
  await end()
})

test('Nor does whoever asks about one, for all questions of another address', async () => {
  const { server, answered, end } = await startQuestions()
  const other = server.anonymous.with({ 'x-forwarded-for': '203.0.113.9' })
  expectType(await other.call(CheckPasswordDocument, { input: { password: PASSWORD } }), 'CheckPasswordSuccess')
  expect(answered()).toBeLessThan(8)
  await end()
})

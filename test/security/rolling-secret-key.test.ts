import { describe, expect, test } from 'vitest'
import { NEXT_PASSWORD, startApp, type TestApp } from '../support/app.js'
import { expectType } from '../support/client.js'
import { TEST_ENVIRONMENT } from '../support/environment.js'
import { LoginDocument, RegisterDocument, VerifyEmailDocument } from '../support/generated/graphql.js'
import { proofOf, SUBJECTS } from '../support/mailbox.js'

const OLD = TEST_ENVIRONMENT.SECRET_KEY ?? ''
const NEW = 'the-secret-key-that-comes-after-that-of-the-tests'
const REFUSALS = ['InvalidCredentialsError', 'AccountLockedError']

/** Two servers of one installation, which differ in SECRET_KEY. */
async function startBoth(one: string, other: string): Promise<[TestApp, TestApp]> {
  const first = await startApp({ env: { SECRET_KEY: one } })
  return [first, await startApp({ env: { SECRET_KEY: other }, beside: first })]
}
// As the handbook has them differ, one step after the other.
const [before, knowing] = await startBoth(OLD, `${OLD},${NEW}`)
const [first, next] = await startBoth(`${OLD},${NEW}`, `${NEW},${OLD}`)

const guess = async ({ anonymous }: TestApp, identifier: string) => {
  const stranger = anonymous.with({ 'user-agent': 'Nobody/1.0' })
  const { __typename } = await stranger.call(LoginDocument, { input: { identifier, password: NEXT_PASSWORD } })
  expect(REFUSALS).toContain(__typename)
  return __typename
}

/** How many guesses are answered before each of the servers says that it is locked. */
async function guessesAt(servers: TestApp[], identifier: string): Promise<number> {
  const isLocked = new Set<TestApp>()
  for (let answered = 0; ; ) {
    for (const server of servers) {
      if ((await guess(server, identifier)) === 'AccountLockedError') isLocked.add(server)
      else answered += 1
    }
    if (isLocked.size === servers.length) return answered
  }
}

describe('While SECRET_KEY is replaced as the handbook says', () => {
  test.each([
    ['some know the new one', before, [before, knowing]],
    ['some use the new one', first, [first, next]],
    ['some use the new one, and are asked first', first, [next, first]],
  ])('an identifier has as many guesses with an account as without: %s', async (name, { newUser }, servers) => {
    const nobody = name.replaceAll(/\W/g, '')
    const ada = await newUser()
    for (const identifier of [ada.email, `${nobody}@example.com`, nobody])
      expect([identifier, await guessesAt(servers, identifier)]).toEqual([identifier, 4])
  })

  test('a lock from before goes on, with an account or without, and ends', async () => {
    const ada = await first.newUser()
    for (const identifier of [ada.email, 'locked@example.com']) {
      await guessesAt([first], identifier)
      expect(await guess(next, identifier)).toBe('AccountLockedError')
    }
    first.clock.advance('31m')
    for (const identifier of [ada.email, 'locked@example.com']) expect(await guessesAt([next], identifier)).toBe(4)
  })

  test('what was counted for an address goes on when it gets an account', async () => {
    const account = first.newAccount()
    for (let time = 1; time <= 3; time += 1) await guess(first, account.email)
    expectType(await next.anonymous.call(RegisterDocument, { input: account }), 'RegisterSuccess')
    const { token } = proofOf(await first.mail(account.email, SUBJECTS.verification))
    expectType(await next.anonymous.call(VerifyEmailDocument, { input: { token } }), 'VerifyEmailSuccess')
    expect(await guessesAt([next], account.email)).toBe(1)
  })
})

import { availableParallelism } from 'node:os'
import argon2 from 'argon2'
import pg from 'pg'
import { describe, expect, test } from 'vitest'
import { NEXT_PASSWORD, startApp, type TestApp } from '../support/app.js'
import { expectType } from '../support/client.js'
import { lockDatabase } from '../support/database-lock.js'
import { eventually } from '../support/eventually.js'
import { ChangePasswordDocument, RequestPasswordResetDocument } from '../support/generated/graphql.js'
import { proofOf, SUBJECTS } from '../support/mailbox.js'
import { metric } from '../support/metrics.js'
import type { User } from '../support/user.js'

const LOGIN = 'mutation ($input: LoginInput!) { login(input: $input) { __typename } }'
const loginOf = (identifier: string, password: string) =>
  JSON.stringify({ query: LOGIN, variables: { input: { identifier, password, tokenDelivery: 'BODY' } } })
const NOBODY = loginOf('nobody@example.com', 'whatever it is')
const DENIED = { login: { __typename: 'InvalidCredentialsError' } }
const MEBIBYTE = 1024 * 1024

/** Carries a statement out, with the hash and the id of the account as its values. */
async function store({ installation }: TestApp, statement: string, hash: string, { id }: User): Promise<void> {
  const database = new pg.Client(installation.databaseUrl)
  await database.connect()
  await database.query(statement, [hash, id]).finally(() => database.end())
}

/** Gives the account a hash that takes seconds: its parameters are what the check of a password costs. */
async function makeSlow(app: TestApp, user: User): Promise<void> {
  const hash = await argon2.hash(user.password, { memoryCost: 65_536, timeCost: 15, parallelism: 1 })
  await store(app, 'UPDATE users SET password_hash = $1 WHERE id = $2', hash, user)
}

/** Sends the form of the page to which the link of a mail leads. */
async function send(link: URL, url: string): Promise<Response> {
  const shown = await fetch(`${url}${link.pathname}${link.search}`, { headers: { accept: 'text/html' } })
  const csrf = /name="csrf" value="([^"]*)"/.exec(await shown.text())?.[1] ?? ''
  const cookie = shown.headers.getSetCookie()[0]?.split(';')[0] ?? ''
  const token = link.searchParams.get('token') ?? ''
  const body = new URLSearchParams({ csrf, token, newPassword: NEXT_PASSWORD })
  return fetch(`${url}${link.pathname}`, { method: 'POST', headers: { cookie, accept: 'text/html' }, body })
}

describe('past HASH_QUEUE_LENGTH', () => {
  test('a login is refused at the beginning or not at all: who has a place keeps it until the answer', async () => {
    const app = await startApp({ env: { HASH_QUEUE_LENGTH: '1', LOCKOUT_THRESHOLD: '1000' } })
    const { anonymous, installation } = app
    const lock = await lockDatabase(installation, 'LOCK TABLE login_throttles IN ACCESS EXCLUSIVE MODE')
    const taken = Array.from({ length: availableParallelism() + 1 }, (_, index) =>
      anonymous.post(loginOf(`nobody${index}@example.com`, 'whatever it is')),
    )
    await lock.untilWaiting(taken.length)
    // None of them hashes anything yet.
    expect(await anonymous.post(NOBODY)).toMatchObject({ status: 503 })
    const told = app.log.lines
      .filter((line) => line.includes('A request was turned away'))
      .map((line) => JSON.parse(line))
    expect(told).toMatchObject([{ reason: 'The queue of ./hash-worker.js is full' }])
    // Where the reason is ours, nobody needs to read where it was thrown.
    expect(told[0]).not.toHaveProperty('err')
    await lock.release()
    for (const { data } of await Promise.all(taken)) expect(data).toEqual(DENIED)
    expect((await anonymous.post(NOBODY)).data).toEqual(DENIED)
  })

  test('passwords are refused while every thread and every place is taken, and checked again afterwards', async () => {
    const app = await startApp({ env: { HASH_QUEUE_LENGTH: '1', LOCKOUT_THRESHOLD: '1000' } })
    const { anonymous, url } = app
    const ada = await app.newUser()
    // Each of another account: those at one are judged in turn.
    const crowd: User[] = []
    while (crowd.length <= availableParallelism()) crowd.push(await app.newUser())
    await anonymous.call(RequestPasswordResetDocument, { input: { email: ada.email } })
    const { link } = proofOf(await app.mail(ada.email, SUBJECTS.reset))
    for (const slow of crowd) await makeSlow(app, slow)
    let answered = 0
    const accepted = crowd.map(({ email }) =>
      anonymous.post(loginOf(email, 'not the password')).finally(() => (answered += 1)),
    )
    await eventually(() => metric(url, 'hash_queue_depth')).toBe(1)

    // Nothing of the database is asked: that, too, would wait.
    const lock = await lockDatabase(app.installation, 'LOCK TABLE users')
    const refused = await anonymous.post(NOBODY)
    await lock.release()
    expect(refused).toMatchObject({
      status: 503,
      errors: [{ extensions: { code: 'SERVICE_UNAVAILABLE', retryAfter: 1 } }],
    })
    expect(refused.headers.get('retry-after')).toBe('1')
    const page = await send(link, url)
    expect([page.status, page.headers.get('retry-after')]).toEqual([503, '1'])
    expect(page.headers.get('content-type')).toBe('text/html; charset=utf-8')
    expect(await page.text()).toContain('The service is busy. Try again in a moment.')
    // None of those that were taken in has an answer: the refusals waited for nothing.
    expect(answered).toBe(0)

    for (const { status, data } of await Promise.all(accepted)) {
      expect({ status, data }).toEqual({ status: 200, data: DENIED })
    }
    expect((await anonymous.post(NOBODY)).data).toEqual(DENIED)
    expect((await send(link, url)).status).toBe(200)
  })
})

test('those who wait for one another at one account leave places to everybody else', async () => {
  const places = availableParallelism() + 6
  const app = await startApp({ env: { HASH_QUEUE_LENGTH: '6' } })
  const { anonymous } = app
  const [ada, grace] = [await app.newUser(), await app.newUser()]
  const lock = await lockDatabase(app.installation, `SELECT FROM users WHERE id = '${ada.id}' FOR UPDATE`)
  const refused: unknown[] = []
  const crowd = Array.from({ length: places }, async () => {
    const answer = await anonymous.post(loginOf(ada.email, ada.password))
    if (answer.status === 503) refused.push(answer.errors[0]?.extensions.code)
    return answer
  })
  const kept = Math.ceil(places / 4)
  await eventually(() => refused).toEqual(Array(places - kept).fill('SERVICE_UNAVAILABLE'))
  expect((await grace.logIn()).id).toBe(grace.id)
  await lock.release()
  const answers = await Promise.all(crowd)
  expect(answers.filter(({ status }) => status === 200)).toHaveLength(kept)
  expect((await ada.logIn()).id).toBe(ada.id)
})

test('a password is changed, though the earlier ones that it is compared with are more than there are places', async () => {
  const app = await startApp({ env: { HASH_QUEUE_LENGTH: '1', PASSWORD_HISTORY: '50' } })
  const ada = await app.newUser()
  const earlier = Array.from({ length: availableParallelism() + 2 }, (_, index) => `${NEXT_PASSWORD} ${index}`)
  for (const password of earlier) {
    const hash = await argon2.hash(password, { memoryCost: 1024, timeCost: 1, parallelism: 1 })
    await store(app, 'INSERT INTO password_history VALUES (gen_random_uuid(), $2, $1, now())', hash, ada)
  }
  const change = async (newPassword = NEXT_PASSWORD) => {
    const { data } = await ada.execute(ChangePasswordDocument, {
      input: { currentPassword: ada.password, newPassword },
    })
    return data.changePassword
  }
  expect(await change(earlier[0])).toMatchObject({ violations: [{ rule: 'REUSED' }] })
  expectType(await change(), 'ChangePasswordSuccess')
})

test('500 logins at once are all answered, in bounded memory, and the server is as before', async () => {
  const cost = { PASSWORD_HASH_MEMORY_KIB: '8192', PASSWORD_HASH_ITERATIONS: '1' }
  const app = await startApp({ env: { ...cost, HASH_QUEUE_LENGTH: '20', LOCKOUT_THRESHOLD: '1000' } })
  const { anonymous, url } = app
  const ada = await app.newUser()
  const before = process.memoryUsage().rss
  let highest = before
  const answers = await Promise.all(
    Array.from({ length: 500 }, async (_, index) => {
      const answer = await anonymous.post(
        index % 2 ? loginOf(`nobody${index}@example.com`, 'whatever') : loginOf(ada.email, ada.password),
      )
      highest = Math.max(highest, process.memoryUsage().rss)
      return answer
    }),
  )
  const kinds = new Map<string, number>()
  for (const { status, data, errors, headers } of answers) {
    const kind = (data as { login: { __typename: string } } | undefined)?.login.__typename ?? errors[0]?.extensions.code
    kinds.set(kind ?? 'nothing', (kinds.get(kind ?? 'nothing') ?? 0) + 1)
    expect(status).toBe(kind === 'SERVICE_UNAVAILABLE' ? 503 : 200)
    if (status === 503) expect([errors[0]?.extensions.retryAfter, headers.get('retry-after')]).toEqual([1, '1'])
  }
  expect([...kinds.keys()].sort()).toEqual(['InvalidCredentialsError', 'LoginSuccess', 'SERVICE_UNAVAILABLE'])
  // With the clients, which share the process. A hash takes 8 MiB here: 500 at once would take 4 GB.
  expect((highest - before) / MEBIBYTE).toBeLessThan(500)
  expect(await metric(url, 'hash_queue_depth')).toBe(0)
  expect((await ada.logIn()).id).toBe(ada.id)
})

import { describe, expect, test, vi } from 'vitest'
import { startApp } from '../support/app.js'
import { expectType } from '../support/client.js'
import { AuditLogDocument, MeDocument, RefreshDocument, SessionsDocument } from '../support/generated/graphql.js'
import type { User } from '../support/user.js'

const app = await startApp()
const { clock } = app

async function withSessions(count: number): Promise<User> {
  const ada = await app.newUser()
  for (let number = 2; number <= count; number += 1) await ada.logIn({ deviceName: `Device ${number}` })
  return ada
}

async function page(ada: User, variables: { first?: number; after?: string; last?: number; before?: string }) {
  const { edges, pageInfo } = await ada.call(SessionsDocument, variables)
  expect(pageInfo.startCursor).toBe(edges[0]?.cursor ?? null)
  expect(pageInfo.endCursor).toBe(edges.at(-1)?.cursor ?? null)
  return { names: edges.map(({ node }) => node.deviceName), ...pageInfo }
}

describe('the list of sessions', () => {
  test('has those that are active, the most recently active first, and tells the current one', async () => {
    const ada = await app.newUser()
    const phone = await ada.logIn({ deviceName: 'Phone' })
    await ada.logIn({ deviceName: 'Laptop' })
    expect((await ada.sessions()).map(({ deviceName }) => deviceName)).toEqual(['Laptop', 'Phone', 'Firefox on Linux'])
    clock.advance('50s')
    await phone.refreshed()
    const sessions = await ada.sessions()
    expect(sessions.map(({ deviceName }) => deviceName)).toEqual(['Phone', 'Laptop', 'Firefox on Linux'])
    expect(sessions.map(({ isCurrent }) => isCurrent)).toEqual([false, false, true])
    expect(sessions.every(({ isActive, endedAt, endReason }) => isActive && !endedAt && !endReason)).toBe(true)
    expect(sessions[2]?.id).toBe(ada.sessionId)
    expect((await ada.call(MeDocument))?.currentSession).toMatchObject({ id: ada.sessionId, isCurrent: true })
  })

  test('has the ended ones too when they are asked for', async () => {
    const ada = await app.newUser()
    const other = await ada.logIn()
    await other.refreshed()
    clock.advance('31s')
    await app.anonymous.call(RefreshDocument, { input: { refreshToken: other.refreshToken } })
    expect(await ada.sessions()).toHaveLength(1)
    const ended = (await ada.sessions(true)).find(({ isActive }) => !isActive)
    expect(ended).toMatchObject({ id: other.sessionId, endReason: 'TOKEN_REUSED', endedAt: expect.any(String) })
  })

  test("has nobody else's", async () => {
    const [ada, eve] = [await app.newUser(), await app.newUser()]
    expect((await eve.sessions(true)).map(({ id }) => id)).toEqual([eve.sessionId])
    expect((await ada.sessions(true)).map(({ id }) => id)).toEqual([ada.sessionId])
  })

  test('notes activity once a minute at most', async () => {
    const ada = await app.newUser()
    const activity = async () => (await ada.sessions())[0]?.lastActivityAt
    const atFirst = ada.authentication.session.lastActivityAt
    clock.advance('50s')
    expect(await activity()).toBe(atFirst)
    clock.advance('11s')
    await vi.waitFor(async () => expect(await activity()).not.toBe(atFirst), { timeout: 60_000, interval: 20 })
  })
})

describe('the pages of the list', () => {
  test('follow one another forwards, without gap or repetition', async () => {
    const ada = await withSessions(5)
    const first = await page(ada, { first: 2 })
    expect(first).toMatchObject({ names: ['Device 5', 'Device 4'], hasNextPage: true, hasPreviousPage: false })
    const second = await page(ada, { first: 2, after: first.endCursor ?? '' })
    expect(second).toMatchObject({ names: ['Device 3', 'Device 2'], hasNextPage: true, hasPreviousPage: true })
    const third = await page(ada, { first: 2, after: second.endCursor ?? '' })
    expect(third).toMatchObject({ names: ['Firefox on Linux'], hasNextPage: false, hasPreviousPage: true })
  })

  test('follow one another backwards', async () => {
    const ada = await withSessions(5)
    const last = await page(ada, { last: 2 })
    expect(last).toMatchObject({ names: ['Device 2', 'Firefox on Linux'], hasNextPage: false, hasPreviousPage: true })
    const middle = await page(ada, { last: 2, before: last.startCursor ?? '' })
    expect(middle).toMatchObject({ names: ['Device 4', 'Device 3'], hasNextPage: true, hasPreviousPage: true })
    const first = await page(ada, { last: 2, before: middle.startCursor ?? '' })
    expect(first).toMatchObject({ names: ['Device 5'], hasNextPage: true, hasPreviousPage: false })
  })

  test('of both the first and the last are, as Relay has it, the last of the first', async () => {
    const ada = await withSessions(5)
    const both = await page(ada, { first: 3, last: 2 })
    expect(both).toMatchObject({ names: ['Device 4', 'Device 3'], hasNextPage: true, hasPreviousPage: true })
    const more = await page(ada, { first: 2, last: 3 })
    expect(more).toMatchObject({ names: ['Device 5', 'Device 4'], hasNextPage: true, hasPreviousPage: false })
  })

  test('have twenty entries by default, and a hundred at most', async () => {
    const ada = await withSessions(25)
    expect((await ada.call(SessionsDocument)).edges).toHaveLength(20)
    expect((await ada.call(SessionsDocument, { first: 100 })).edges).toHaveLength(25)
    expect((await ada.refusal(SessionsDocument, { first: 101 })).code).toBe('BAD_USER_INPUT')
  })

  test('are not found with the cursor of another list', async () => {
    const ada = await withSessions(3)
    const { edges } = await ada.call(AuditLogDocument, { first: 1 })
    const foreign = [edges[0]?.cursor, 'nonsense', '', ada.sessionId, 'R1BDOlM6bm9uc2Vuc2U=']
    for (const cursor of foreign) {
      for (const variables of [
        { first: 2, after: cursor },
        { last: 2, before: cursor },
      ]) {
        const refusal = await ada.refusal(SessionsDocument, variables)
        expect(refusal, `${JSON.stringify(variables)}`).toMatchObject({ code: 'BAD_USER_INPUT', path: ['sessions'] })
        expect(refusal.extensions.issues?.[0]?.path).toEqual([variables.after === undefined ? 'before' : 'after'])
      }
    }
  })

  test("show nothing of somebody else's list with a cursor of it", async () => {
    // Hers are older, so that they come after that cursor.
    const [eve, ada] = [await withSessions(3), await withSessions(3)]
    const { pageInfo } = await ada.call(SessionsDocument, { first: 1 })
    const answer = await eve.post(
      JSON.stringify({
        query: 'query ($after: String) { sessions(first: 10, after: $after) { edges { node { id } } } }',
        variables: { after: pageInfo.endCursor },
      }),
    )
    const own = new Set((await eve.sessions()).map(({ id }) => id))
    const { sessions } = (answer.data ?? { sessions: null }) as {
      sessions: { edges: { node: { id: string } }[] } | null
    }
    expect(sessions?.edges.length).toBeGreaterThan(0)
    for (const { node } of sessions?.edges ?? []) expect(own).toContain(node.id)
  })
})

/** Asks until the activity of a moment is noted. */
async function beActive(user: User, now: Date): Promise<void> {
  const isNoted = async () => Date.parse((await user.sessions())[0]?.lastActivityAt ?? '') >= now.getTime()
  await vi.waitUntil(isNoted, { timeout: 60_000, interval: 20 })
}

describe('a session ends by itself', () => {
  const EXPIRED = { isActive: false, endReason: 'EXPIRED', endedAt: expect.any(String) }

  test('with its lifetime, however active it is', async () => {
    const ada = await app.newUser()
    let current = ada
    for (let day = 1; day <= 6; day += 1) {
      clock.advance('1d')
      current = await current.refreshed()
    }
    clock.advance('1d')
    expect(await current.call(MeDocument)).toBeNull()
    expect((await current.refusal(SessionsDocument)).code).toBe('UNAUTHENTICATED')
    const later = await ada.logIn()
    const ended = (await later.sessions(true)).find(({ id }) => id === ada.sessionId)
    expect(ended).toMatchObject({ ...EXPIRED, endedAt: ada.authentication.refreshExpiresAt })
    expect(await later.sessions()).toHaveLength(1)
  })

  test('after too long without activity, but not while there is some', async () => {
    const idle = await startApp({ env: { SESSION_IDLE_TIMEOUT: '1h', ACCESS_TOKEN_LIFETIME: '1d' } })
    const ada = await idle.newUser()
    const other = await ada.logIn()
    for (let time = 1; time <= 3; time += 1) {
      idle.clock.advance('40m')
      await beActive(ada, idle.clock.now())
    }
    expect(await other.call(MeDocument)).toBeNull()
    expect((await other.refusal(SessionsDocument)).code).toBe('UNAUTHENTICATED')
    const refreshed = await idle.anonymous.call(RefreshDocument, { input: { refreshToken: other.refreshToken } })
    expect(expectType(refreshed, 'InvalidRefreshTokenError').reason).toBe('EXPIRED')
    const ended = (await ada.sessions(true)).find(({ id }) => id === other.sessionId)
    expect(ended).toMatchObject(EXPIRED)
    expect(await ada.sessions()).toHaveLength(1)
  })

  test('not while there is activity, however short SESSION_IDLE_TIMEOUT is', async () => {
    const idle = await startApp({ env: { SESSION_IDLE_TIMEOUT: '10s' } })
    const ada = await idle.newUser()
    for (let second = 1; second <= 12; second += 1) {
      idle.clock.advance('1s')
      await beActive(ada, idle.clock.now())
    }
    idle.clock.advance('10s')
    expect(await ada.call(MeDocument)).toBeNull()
  })

  test('and counts for MAX_CONCURRENT_SESSIONS no more, so that none ends that is active', async () => {
    const few = await startApp({
      env: { MAX_CONCURRENT_SESSIONS: '2', SESSION_IDLE_TIMEOUT: '1h', ACCESS_TOKEN_LIFETIME: '1d' },
    })
    const ada = await few.newUser()
    await ada.logIn()
    few.clock.advance('40m')
    await beActive(ada, few.clock.now())
    few.clock.advance('40m')
    await ada.logIn()
    expect(await ada.sessions()).toHaveLength(2)
    expect(await few.eventsOf(ada, { types: ['SESSION_TERMINATED'] })).toEqual([])
  })
})

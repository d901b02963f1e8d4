import { describe, expect, test } from 'vitest'
import { startApp } from '../support/app.js'
import { expectType } from '../support/client.js'
import { stopClock } from '../support/clock.js'
import { lockDatabase } from '../support/database-lock.js'
import { LoginDocument, MeDocument, SessionsDocument } from '../support/generated/graphql.js'

describe('a session ends', () => {
  test('when one more than MAX_CONCURRENT_SESSIONS opens: the oldest', async () => {
    const few = await startApp({ env: { MAX_CONCURRENT_SESSIONS: '3' } })
    const oldest = await few.newUser()
    const second = await oldest.logIn()
    await oldest.logIn()
    expect(await oldest.sessions()).toHaveLength(3)
    const newest = await oldest.logIn()
    expect(await oldest.call(MeDocument)).toBeNull()
    expect((await second.call(MeDocument))?.id).toBe(oldest.id)
    expect(await newest.sessions()).toHaveLength(3)
    const [event] = await few.eventsOf(oldest, { types: ['SESSION_TERMINATED'] })
    expect(event).toMatchObject({ sessionId: oldest.sessionId, metadata: { reason: 'TOO_MANY_SESSIONS' } })
  })

  test('when too many open at once: there are never more', async () => {
    const few = await startApp({ env: { MAX_CONCURRENT_SESSIONS: '3' } })
    const ada = await few.newUser()
    const users = await Promise.all(Array.from({ length: 10 }, () => ada.logIn()))
    const lists = await Promise.all(users.map((user) => user.sessions().catch(() => [])))
    expect(lists.filter((list) => list.length > 0).map((list) => list.length)).toEqual([3, 3, 3])
  })

  test('when two open in two processes in the very same millisecond: there are never more, and each ends once', async () => {
    const few = await startApp({ env: { MAX_CONCURRENT_SESSIONS: '2' } })
    const beside = await startApp({ env: { MAX_CONCURRENT_SESSIONS: '2' }, beside: few })
    const ada = await few.newUser()
    stopClock(few.clock)
    beside.clock.now = few.clock.now
    await ada.logIn()
    const input = { identifier: ada.email, password: ada.password, tokenDelivery: 'BODY' as const }
    const account = await lockDatabase(few.installation, `SELECT FROM users WHERE id = '${ada.id}' FOR UPDATE`)
    const both = [few, beside].map(({ anonymous }) => anonymous.call(LoginDocument, { input }))
    await account.untilWaiting(2)
    await account.release()
    const [one] = (await Promise.all(both)).map((answer) => expectType(answer, 'LoginSuccess'))
    const signedIn = few.anonymous.with({ authorization: `Bearer ${one?.authentication.accessToken}` })
    const { edges } = await signedIn.call(SessionsDocument)
    expect(edges).toHaveLength(2)
    expect(await few.eventsOf(ada, { types: ['SESSION_TERMINATED'] })).toHaveLength(2)
  })
})

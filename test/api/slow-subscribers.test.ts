import { expect, test } from 'vitest'
import { startApp } from '../support/app.js'
import { lockDatabase } from '../support/database-lock.js'
import { eventually } from '../support/eventually.js'
import { AuditLogDocument, LogoutDocument } from '../support/generated/graphql.js'
import { metric } from '../support/metrics.js'
import { ALERTS, numbersOf, openPublisher, openSlowSocket, openSlowStream, SLOW } from '../support/slow-subscribers.js'
import { openSocket, openStream } from '../support/streams.js'
import type { User } from '../support/user.js'

/** So many, of 10 KB, are far more than the buffers between two sockets take, and than the server keeps for all. */
const EVENTS = 4000
const BURST = 500

async function newestCursor(user: User): Promise<string> {
  const { edges } = await user.call(AuditLogDocument, { first: 1 })
  return edges[0]?.cursor ?? expect.fail('There are no events')
}
const upTo = (count: number) => Array.from({ length: count }, (_, index) => index + 1)

const QUICK = [
  ['a WebSocket', async (url: string, token: string) => (await openSocket(url, { token })).follow],
  [
    'server-sent events',
    async (url: string, token: string) => (query: string, variables: object) =>
      openStream(url, { token }, query, variables),
  ],
] as const
const CURSORS = 'subscription ($after: String) { securityAlerts(after: $after) { cursor } }'

const EVENTS_TO_REPLAY = 1000

/** As many subscriptions of one user, each of which has these events to tell. */
async function openReplays(open: (typeof QUICK)[number][1], count: number, events: number) {
  const { url, installation, newUser } = await startApp()
  const ada = await newUser()
  const variables = { after: await newestCursor(ada) }
  const { publish } = await openPublisher(installation)
  await publish(ada, 1, events)
  await newestCursor(ada)
  const follow = await open(url, ada.accessToken)
  return { url, alerts: await Promise.all(Array.from({ length: count }, () => follow(CURSORS, variables))) }
}

test.each(QUICK)(
  'Who reads very many events over %s as fast as they come keeps nobody else waiting meanwhile',
  async (_, open) => {
    const { url, alerts } = await openReplays(open, 1, EVENTS_TO_REPLAY)
    const received = () => alerts[0]?.received.length
    await alerts[0]?.next()
    for (let request = 0; request < 3; request += 1) await fetch(`${url}/health/live`)
    expect(received()).toBeLessThan(EVENTS_TO_REPLAY / 2)
    await eventually(received).toBe(EVENTS_TO_REPLAY)
  },
)

test.each(QUICK)(
  'Nor does who reads ten times as many in forty subscriptions over %s: together they get no more at once',
  async (_, open) => {
    const { url, alerts } = await openReplays(open, 40, EVENTS_TO_REPLAY / 4)
    const count = () => alerts.reduce((sum, { received }) => sum + received.length, 0)
    await Promise.all(alerts.map(({ next }) => next()))
    const before = count()
    for (let request = 0; request < 3; request += 1) await fetch(`${url}/health/live`)
    expect(count() - before).toBeLessThan(EVENTS_TO_REPLAY / 2)
    await eventually(count).toBe(10 * EVENTS_TO_REPLAY)
  },
)

test('Nothing piles up for who does not read, nobody else waits, and reading on gives every event once and in order', async () => {
  const { url, installation, newUser } = await startApp()
  const ada = await newUser()
  const [token, variables] = [ada.accessToken, { after: await newestCursor(ada) }]
  const slow = [await openSlowStream(url, token, variables), await openSlowSocket(url, token, variables)]
  const quick = [
    (await openSocket(url, { token })).follow(ALERTS, variables),
    await openStream(url, { token }, ALERTS, variables),
  ]
  const counts = (subscribers: readonly { received: readonly unknown[] }[]) =>
    subscribers.map(({ received }) => received.length)
  await eventually(() => metric(url, 'event_subscribers')).toBe(4)

  const { publish } = await openPublisher(installation)
  for (let published = 0; published < EVENTS; published += BURST) {
    await publish(ada, published + 1, published + BURST)
    await eventually(() => counts(quick), 60_000).toEqual([published + BURST, published + BURST])
  }
  expect(counts(slow)).toEqual([0, 0])

  // What they get without the database is what was kept for them.
  const lock = await lockDatabase(installation, 'LOCK TABLE audit_events IN ACCESS EXCLUSIVE MODE')
  for (const { readOn } of slow) void readOn()
  /** Whether nothing more comes to them for as long as other clients need for many requests. */
  const isStuck = async () => {
    const before = counts(slow)
    for (let request = 0; request < 50; request += 1) await fetch(`${url}/health/live`)
    return !before.includes(0) && `${before}` === `${counts(slow)}`
  }
  await eventually(isStuck, 60_000).toBe(true)
  for (const count of counts(slow)) expect(count).toBeLessThan(EVENTS / 2)
  await lock.release()
  await eventually(() => counts(slow), 60_000).toEqual([EVENTS, EVENTS])

  await publish(ada, EVENTS + 1, EVENTS + 10)
  const all = [...slow, ...quick]
  await eventually(() => counts(all)).toEqual(all.map(() => EVENTS + 10))
  for (const { received } of all) expect(numbersOf(received)).toEqual(upTo(EVENTS + 10))
})

test.each(SLOW)(
  'Who reads nothing over %s is cut off when the session ends, and takes no place',
  async (_, openSlow) => {
    const { url, installation, newUser } = await startApp({ env: { MAX_SUBSCRIPTIONS_PER_USER: '2' } })
    const ada = await newUser()
    const [stolen, token] = [await ada.logIn(), ada.accessToken]
    const variables = { after: await newestCursor(ada) }
    const slow = await openSlow(url, stolen.accessToken, variables)
    const quick = await openStream(url, { token }, ALERTS, variables)
    await eventually(() => metric(url, 'event_subscribers')).toBe(2)
    const { publish } = await openPublisher(installation)
    for (let published = 0; published < EVENTS / 2; published += BURST) {
      await publish(ada, published + 1, published + BURST)
      await eventually(() => quick.received.length, 60_000).toBe(published + BURST)
    }
    const refused = await openStream(url, { token }, ALERTS)
    expect((await refused.next()).errors).toMatchObject([{ extensions: { code: 'RATE_LIMITED' } }])

    await stolen.call(LogoutDocument)
    await eventually(() => metric(url, 'event_subscribers')).toBe(1)
    const next = await openStream(url, { token }, ALERTS)
    expect(next.response.status).toBe(200)
    expect(await slow.readOn()).toBe('cut off')
    const read = numbersOf(slow.received)
    expect(read).toEqual(upTo(read.length))
    expect(read.length).toBeLessThan(EVENTS / 2)
  },
)

test('Who reads so slowly that retention removes what comes next is not told of what comes after the gap: the stream ends', async () => {
  const days = { ACCESS_TOKEN_LIFETIME: '60d', REFRESH_TOKEN_LIFETIME: '60d', SESSION_IDLE_TIMEOUT: '60d' }
  const { url, installation, newUser, clock, operator } = await startApp({ env: { ...days, AUDIT_RETENTION: '30d' } })
  const ada = await newUser()
  const [token, variables] = [ada.accessToken, { after: await newestCursor(ada) }]
  const { publish } = await openPublisher(installation)
  await publish(ada, 1, EVENTS)
  await newestCursor(ada)
  const slow = await openSlowStream(url, token, variables)
  clock.advance('31d')
  await operator.purge()
  await publish(ada, EVENTS + 1, EVENTS + 1)
  expect(await slow.readOn()).toBe('completed')
  const numbers = numbersOf(slow.received)
  expect(numbers.length).toBeLessThan(EVENTS)
  expect(numbers).toEqual(upTo(numbers.length))
})

// Clients that ask for much and read nothing of it, or are gone before it comes.
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { expect, onTestFinished, test, vi } from 'vitest'
import { WebSocket } from 'ws'
import { startApp, type TestApp } from '../support/app.js'
import { lockDatabase } from '../support/database-lock.js'
import { eventually } from '../support/eventually.js'
import { AuditLogDocument, LoginDocument, MeDocument } from '../support/generated/graphql.js'
import { metric } from '../support/metrics.js'
import { openPublisher } from '../support/slow-subscribers.js'
import { openStream } from '../support/streams.js'
import type { User } from '../support/user.js'

const ME = JSON.stringify({ query: '{ me { id } }' })
/** Of the answers below, which have about ten megabytes each, the system takes a few; two or three of what is left may wait. */
const BOUND = { MAX_UNREAD_BYTES: '16000000' }
const MANY = 8
const GRAPHIQL = 'GET /graphql HTTP/1.1\r\nhost: x\r\naccept: text/html\r\n\r\n'

/** A connection that sends the text and reads nothing, nor sees what becomes of it. */
async function open({ url }: TestApp, text: string): Promise<Socket> {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname).pause()
  onTestFinished(() => void socket.destroy())
  socket.on('error', () => {})
  await once(socket, 'connect')
  socket.write(text)
  return socket
}

const post = (query: string, accept: string, { accessToken }: User) => {
  const body = JSON.stringify({ query })
  const fields = [`accept: ${accept}`, `authorization: Bearer ${accessToken}`, `content-length: ${body.length}`]
  return `POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n${fields.join('\r\n')}\r\n\r\n${body}`
}

const PAGES = 10

/** What has an answer of ten megabytes: more than the system takes for a client that does not read. */
async function seedMuch({ installation }: TestApp, user: User): Promise<string> {
  const { publish } = await openPublisher(installation)
  await publish(user, 1, 100)
  const count = async () => (await user.call(AuditLogDocument, { first: 100 })).edges.length
  await eventually(count).toBe(100)
  const page = (number: number) => `a${number}: auditLog(first: 100) { edges { node { metadata } } }`
  return `{ ${Array.from({ length: PAGES }, (_, number) => page(number)).join(' ')} }`
}

test.each(['application/json', 'application/json;q=0.9'])(
  'A long answer of %s that nobody reads takes no place among what is under way',
  async (accept) => {
    const app = await startApp({ env: { MAX_IN_FLIGHT: '1' } })
    const ada = await app.newUser()
    const unread = await open(app, post(await seedMuch(app, ada), accept, ada))
    // Its first bytes are there: the answer is.
    await once(unread, 'readable')
    for (const isThere of [true, false]) {
      if (!isThere) unread.resetAndDestroy()
      await eventually(async () => (await app.anonymous.post(ME)).status).toBe(200)
    }
  },
)

test('A page that nobody reads takes no place either', async () => {
  const app = await startApp({ env: { MAX_IN_FLIGHT: '1' } })
  const unread = await open(app, GRAPHIQL)
  await once(unread, 'readable')
  expect((await app.anonymous.post(ME)).status).toBe(200)
})

type End = 'all' | 'cut off'

/** Whether all of an answer comes to who reads it now, or the connection was cut off before. */
async function readOn(socket: Socket): Promise<End> {
  let head = ''
  let size = 0
  for await (const chunk of socket) {
    if (!head.includes('\r\n\r\n')) head += chunk.toString('latin1')
    size += chunk.length
    if (size > Number(/content-length: (\d+)/.exec(head)?.[1])) return 'all'
  }
  return 'cut off'
}

test('When too much waits to be read, whoever leaves it is cut off, and everybody else is answered', async () => {
  const app = await startApp({ env: BOUND })
  const unread: Socket[] = []
  while (unread.length < MANY) {
    const socket = await open(app, GRAPHIQL)
    await once(socket, 'readable')
    unread.push(socket)
  }
  expect((await app.anonymous.post(ME)).status).toBe(200)
  const ends = await Promise.all(unread.map(readOn))
  expect(new Set(ends)).toEqual(new Set(['all', 'cut off']))
})

/** A WebSocket that asks, and reads nothing. Gives, when it reads on, whether the answer comes. */
async function askUnread({ url }: TestApp, query: string, { accessToken }: User): Promise<() => Promise<End>> {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws')
  onTestFinished(() => socket.terminate())
  await once(socket, 'open')
  const send = (message: object) => socket.send(JSON.stringify(message))
  send({ type: 'connection_init', payload: { authorization: `Bearer ${accessToken}` } })
  await once(socket, 'message')
  socket.pause()
  send({ id: '1', type: 'subscribe', payload: { query } })
  const ends = [
    once(socket, 'message').then(() => 'all' as const),
    once(socket, 'close').then(() => 'cut off' as const),
  ]
  return () => {
    socket.resume()
    return Promise.race(ends)
  }
}

test('The same over WebSockets, and nothing is printed of it', async () => {
  const print = vi.spyOn(console, 'error')
  onTestFinished(() => print.mockRestore())
  const app = await startApp({ env: BOUND })
  const ada = await app.newUser()
  const query = await seedMuch(app, ada)
  const unread = await Promise.all(Array.from({ length: MANY }, () => askUnread(app, query, ada)))
  const answered = () => metric(app.url, 'graphql_operations_total{field="auditLog",code="OK"}')
  await eventually(answered, 30_000).toBeGreaterThanOrEqual(MANY * PAGES)
  expect((await app.anonymous.post(ME)).status).toBe(200)
  const ends = await Promise.all(unread.map((readOn) => readOn()))
  expect(new Set(ends)).toEqual(new Set(['all', 'cut off']))
  expect(print).not.toHaveBeenCalled()
})

test('What is sent ahead of an answer is not begun before that has ended, and not at all where the connection has', async () => {
  const app = await startApp()
  const ada = await app.newUser()
  const subscription = post('subscription { securityAlerts { cursor } }', 'text/event-stream', ada)
  const rename = post('mutation { updateProfile(input: { firstName: "Eve" }) { __typename } }', 'application/json', ada)
  const socket = await open(app, rename + subscription + rename.replace('Eve', 'Ida') + subscription)
  const subscribers = () => metric(app.url, 'event_subscribers')
  await eventually(subscribers).toBe(1)
  expect(await ada.call(MeDocument)).toMatchObject({ firstName: 'Eve' })
  expect(await subscribers()).toBe(1)
  socket.destroy()
  await eventually(subscribers).toBe(0)
  expect(await ada.call(MeDocument)).toMatchObject({ firstName: 'Eve' })
})

test('A subscription begins not at all when its connection is gone before', async () => {
  const app = await startApp()
  const ada = await app.newUser()
  const lock = await lockDatabase(app.installation, 'LOCK TABLE audit_checkpoints IN ACCESS EXCLUSIVE MODE')
  const subscription = post('subscription { securityAlerts { cursor } }', 'text/event-stream', ada)
  const socket = await open(app, subscription)
  // It looks for the end of the log, as does the server itself.
  await lock.untilWaiting(2)
  socket.destroy()
  await once(socket, 'close')
  expect((await app.anonymous.post(ME)).status).toBe(200)
  await lock.release()
  // As many as may be at once begin, and are answered: no place was taken.
  const streams = await Promise.all(
    Array.from({ length: 50 }, () =>
      openStream(app.url, { token: ada.accessToken }, 'subscription { securityAlerts { cursor } }'),
    ),
  )
  expect(new Set(streams.map(({ response }) => response.status))).toEqual(new Set([200]))
})

test.each([
  ['requests', 'GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n'],
  ['requests with an expectation', 'GET / HTTP/1.1\r\nhost: x\r\nexpect: x\r\n\r\n'],
  ['requests of too many headers', `GET / HTTP/1.1\r\nhost: x\r\n${'a:\r\n'.repeat(200)}\r\n`],
])('Who sends very many %s ahead is cut off, and none of the others is answered', async (_, request) => {
  const app = await startApp()
  const ada = await app.newUser()
  const before = await ada.call(MeDocument)
  const rename = 'mutation { updateProfile(input: { firstName: "Eve" }) { __typename } }'
  const ahead = post('subscription { securityAlerts { cursor } }', 'text/event-stream', ada).repeat(2)
  const socket = await open(app, ahead + request.repeat(40) + post(rename, 'application/json', ada))
  expect(await readOn(socket)).toBe('cut off')
  await eventually(() => metric(app.url, 'event_subscribers')).toBe(0)
  expect(await ada.call(MeDocument)).toMatchObject({ id: ada.id, firstName: before?.firstName ?? null })
})

test('Whoever is gone before his request is read has no say, or an address', async () => {
  const app = await startApp()
  const ada = await app.newUser()
  const wrong = `{ identifier: "${ada.email}", password: "not the password" }`
  const guess = post(`mutation { login(input: ${wrong}) { __typename } }`, 'application/json', ada)
  for (let time = 0; time < 20; time += 1) (await open(app, guess)).resetAndDestroy()
  // Sign-ins to one account are judged one after the other.
  const input = { identifier: ada.email, password: ada.password, tokenDelivery: 'BODY' } as const
  await app.anonymous.call(LoginDocument, { input })
  const failed = await app.eventsOf(ada, { types: ['LOGIN_FAILED', 'ACCOUNT_LOCKED'] })
  expect(failed.filter(({ ipAddress }) => ipAddress === null)).toEqual([])
})

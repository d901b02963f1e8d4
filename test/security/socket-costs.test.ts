// What a WebSocket may cost the server, and what its client is told when it ends.
import { setImmediate } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { NEXT_PASSWORD, startApp } from '../support/app.js'
import { lockDatabase } from '../support/database-lock.js'
import { startDatabaseProxy } from '../support/database-proxy.js'
import { deferred } from '../support/deferred.js'
import { eventually } from '../support/eventually.js'
import { LoginDocument, LogoutDocument } from '../support/generated/graphql.js'
import { heldAfter } from '../support/heap.js'
import { metric } from '../support/metrics.js'
import { STALLED } from '../support/stall.js'
import { openRawSocket, openSocket } from '../support/streams.js'

const app = await startApp()
const ada = await app.newUser()

const INIT = { type: 'connection_init' }
const ALERTS = 'subscription { securityAlerts(minRiskLevel: LOW) { cursor } }'
const subscribe = (id: string, query: string, variables?: object) => ({
  ...{ id, type: 'subscribe', payload: { query, ...(variables && { variables }) } },
})
const signedIn = { ...INIT, payload: { authorization: `Bearer ${ada.accessToken}` } }
/** 90 KB of text, and some megabytes when it is read. */
const COSTLY = { list: new Array(30_000).fill({}) }

test('Nothing is kept of what a connection says when it begins', async () => {
  const held = await heldAfter(async () => {
    const sockets = await Promise.all(Array.from({ length: 40 }, () => openRawSocket(app.url)))
    for (const socket of sockets) socket.send({ ...INIT, payload: COSTLY })
    for (const socket of sockets) expect(await socket.next()).toEqual({ type: 'connection_ack' })
  })
  expect(held).toBeLessThan(20)
})

test('Nor of the variables that a subscription does not declare', async () => {
  const socket = await openRawSocket(app.url)
  socket.send(signedIn)
  await socket.next()
  const subscribers = () => metric(app.url, 'event_subscribers')
  const held = await heldAfter(async () => {
    for (let index = 0; index < 40; index += 1) socket.send(subscribe(`${index}`, ALERTS, COSTLY))
    await eventually(subscribers).toBe(40)
  })
  expect(held).toBeLessThan(20)
})

test('Streams end with their connection, also when their id was used again at the same moment', async () => {
  const user = await app.newUser()
  const subscribers = () => metric(app.url, 'event_subscribers')
  const before = await subscribers()
  // Which of the streams graphql-ws loses sight of depends on who is faster.
  for (let time = 0; time < 20; time += 1) {
    const socket = await openRawSocket(app.url)
    socket.send({ ...INIT, payload: { authorization: `Bearer ${user.accessToken}` } })
    await socket.next()
    for (let use = 0; use < 3; use += 1) {
      socket.send(subscribe('1', ALERTS))
      if (use < 2) socket.send({ id: '1', type: 'complete' })
    }
    socket.send(subscribe('2', '{ __typename }'))
    await eventually(() => socket.received).toContainEqual({ id: '2', type: 'complete' })
    socket.terminate()
    await socket.closing
  }
  await eventually(subscribers).toBe(before)
  // The places are free again: so many may one user have.
  const other = await openRawSocket(app.url)
  other.send({ ...INIT, payload: { authorization: `Bearer ${user.accessToken}` } })
  await other.next()
  for (let index = 0; index < 50; index += 1) other.send(subscribe(`${index}`, ALERTS))
  await eventually(subscribers).toBe(before + 50)
})

test('A message of bytes is none: only texts are known to be UTF-8', async () => {
  const socket = await openRawSocket(app.url)
  socket.send(INIT)
  await socket.next()
  const email = 'bytes@example.com'
  const input = { ...app.newAccount({ email, password: 'x'.repeat(20) + NEXT_PASSWORD }) }
  const mutation = 'mutation ($input: RegisterInput!) { register(input: $input) { __typename } }'
  const [before, after] = JSON.stringify(subscribe('1', mutation, { input })).split('x'.repeat(20)) as [string, string]
  socket.sendBinary(Buffer.concat([Buffer.from(before), Buffer.alloc(20, 0xe4), Buffer.from(after)]))
  expect(await socket.closing).toMatchObject({ code: 1003 })
  expect(await app.mailsTo(email)).toEqual([])
})

test('A message may come in a few pieces, and not in very many', async () => {
  const whole = await openRawSocket(app.url)
  whole.sendPieces(JSON.stringify(INIT), 8)
  expect(await whole.next()).toEqual({ type: 'connection_ack' })
  const broken = await openRawSocket(app.url)
  broken.sendPieces(JSON.stringify(INIT), 20)
  expect(await broken.closing).toMatchObject({ code: 1008 })
})

test('A message that does not end may arrive in a thousand parts, and not in many more', async () => {
  const socket = await openRawSocket(app.url)
  let isClosed = false
  void socket.closing.then(() => {
    isClosed = true
  })
  // The head of a text of 65,535 bytes.
  socket.sendBytes(0x81, 0xfe, 0xff, 0xff, 0, 0, 0, 0)
  for (let sent = 0; sent < 20_000 && !isClosed; sent += 1) {
    socket.sendBytes(0x20)
    await setImmediate()
  }
  expect(isClosed).toBe(true)
  expect(await socket.closing).toMatchObject({ code: 1008 })
})

test('Who signs out over a WebSocket is told that it worked, and then the connection is closed', async () => {
  for (const [mutation, answer] of [
    ['mutation { logout { __typename } }', { logout: { __typename: 'LogoutSuccess' } }],
    [
      'mutation { terminateAllSessions(input: { includeCurrent: true }) { __typename } }',
      { terminateAllSessions: { __typename: 'TerminateAllSessionsSuccess' } },
    ],
  ] as const) {
    const user = await app.newUser()
    const socket = await openSocket(app.url, { token: user.accessToken })
    expect(await socket.ask(mutation)).toEqual({ data: answer })
    expect(await socket.closing).toMatchObject({ code: 4403 })
  }
})

test('Whose session has ended is not kept by an operation that takes long', async () => {
  const user = await app.newUser()
  const socket = await openSocket(app.url, { token: user.accessToken })
  const lock = await lockDatabase(app.installation, 'LOCK TABLE login_throttles IN ACCESS EXCLUSIVE MODE')
  const { received } = socket.follow(STALLED)
  await lock.untilWaiting(1)
  await user.call(LogoutDocument)
  expect(await socket.closing).toMatchObject({ code: 4403 })
  expect(received).toEqual([])
})

test('While the database is away a connection with a token is told to come again, and the log says why', async () => {
  const proxy = await startDatabaseProxy(app.installation.databaseUrl)
  const server = await startApp({ env: { DATABASE_URL: proxy.url }, beside: app })
  const input = { identifier: ada.email, password: ada.password, tokenDelivery: 'BODY' } as const
  const login = await server.anonymous.call(LoginDocument, { input })
  const token = 'authentication' in login ? login.authentication.accessToken : ''
  proxy.cut()
  const socket = await openRawSocket(server.url)
  socket.send({ ...INIT, payload: { authorization: `Bearer ${token}` } })
  expect(await socket.closing).toEqual({ code: 1013, reason: 'Try again later' })
  expect(server.log.lines.filter((line) => line.includes('A WebSocket was turned away'))).toHaveLength(1)
  proxy.restore()
  server.log.hush(/job queue|event feed/)
})

test('An upgrade with very many headers is refused: they would be kept for as long as the connection', async () => {
  const headers = Object.fromEntries(Array.from({ length: 220 }, (_, index) => [`x-${index}`, '']))
  expect((await openRawSocket(app.url, headers)).status).toBe(431)
})

test('Who changes the password over a WebSocket is told that it worked, whatever is asked meanwhile; only then a new token is due', async () => {
  const [checking, answered] = [deferred<void>(), deferred<void>()]
  let checks = 0
  const server = await startApp({
    breaches: {
      async isBreached() {
        checks += 1
        if (checks < 3) return false
        checking.resolve()
        await answered.promise
        return false
      },
    },
  })
  const user = await server.newUser()
  const socket = await openSocket(server.url, { token: user.accessToken })
  const change = socket.ask(
    `mutation ($input: ChangePasswordInput!) {
      changePassword(input: $input) { __typename } checkPassword(input: { password: "nine silver bells below ice" }) { __typename }
    }`,
    { input: { currentPassword: user.password, newPassword: NEXT_PASSWORD } },
  )
  await checking.promise
  expect(await socket.ask('{ me { id } }')).toEqual({ data: { me: null } })
  answered.resolve()
  expect(await change).toMatchObject({ data: { changePassword: { __typename: 'ChangePasswordSuccess' } } })
  socket.follow('{ me { id } }')
  expect(await socket.closing).toMatchObject({ code: 4401 })
})

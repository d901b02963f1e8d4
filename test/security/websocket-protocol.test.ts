import { once } from 'node:events'
import { connect } from 'node:net'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { WebSocket } from 'ws'
import { startApp } from '../support/app.js'
import { eventually } from '../support/eventually.js'
import { openRawConnection } from '../support/raw-connection.js'
import { openRawSocket } from '../support/streams.js'

const app = await startApp({ env: { REQUEST_TIMEOUT: '2s' } })
const ada = await app.newUser()

const INIT = { type: 'connection_init' }
const ACK = { type: 'connection_ack' }
const ALERTS = 'subscription { securityAlerts(minRiskLevel: LOW) { node { type } } }'
const subscribe = (id: string, query: string) => ({ id, type: 'subscribe', payload: { query } })

/** A connection that has begun. */
async function begin(token?: string) {
  const socket = await openRawSocket(app.url)
  socket.send({ ...INIT, ...(token && { payload: { authorization: `Bearer ${token}` } }) })
  expect(await socket.next()).toEqual(ACK)
  return socket
}

test('The token of a connection may be said as the header is written', async () => {
  const socket = await openRawSocket(app.url)
  socket.send({ ...INIT, payload: { Authorization: `Bearer ${ada.accessToken}` } })
  expect(await socket.next()).toEqual(ACK)
  socket.send(subscribe('1', '{ me { id } }'))
  expect(await socket.next()).toMatchObject({ payload: { data: { me: { id: ada.id } } } })
})

describe('a connection is closed', () => {
  test('with 4408 when it does not begin in time', async () => {
    expect(await (await openRawSocket(app.url)).closing).toMatchObject({ code: 4408 })
  })

  test.each([
    ['what is no JSON', 'hello'],
    ['JSON that is no message', '[]'],
    ['what only a server sends', { type: 'connection_ack' }],
    ['a result of its own', { type: 'next', id: '1', payload: {} }],
    ['a message of no type', { id: '1' }],
    ['a message of an unknown type', { type: 'start' }],
    ['an operation without an id', { type: 'subscribe', payload: { query: '{ me { id } }' } }],
    ['an operation without a query', { id: '1', type: 'subscribe', payload: {} }],
    ['variables that are a list', { id: '1', type: 'subscribe', payload: { query: '{ me { id } }', variables: [] } }],
  ])('with 4400 after %s', async (_, message) => {
    const socket = await begin()
    socket.send(message)
    expect(await socket.closing).toMatchObject({ code: 4400 })
  })

  test.each([
    ['1002 after what is no frame', 1002, [0xf1, 0x80, 1, 2, 3, 4]],
    ['1007 after text that is not UTF-8', 1007, [0x81, 0x82, 0, 0, 0, 0, 0xff, 0xfe]],
  ])('with %s, of which the log tells, and the console does not', async (_, code, bytes) => {
    const printed = vi.spyOn(console, 'error')
    onTestFinished(() => printed.mockRestore())
    const told = () => app.log.lines.filter((line) => line.includes('A WebSocket sent what is no message')).length
    const before = told()
    const socket = await openRawSocket(app.url)
    socket.sendBytes(...bytes)
    expect(await socket.closing).toMatchObject({ code })
    await eventually(told).toBe(before + 1)
    expect(printed).not.toHaveBeenCalled()
  })

  test('with 4401 after an operation before it has begun', async () => {
    const socket = await openRawSocket(app.url)
    socket.send(subscribe('1', '{ me { id } }'))
    expect(await socket.closing).toMatchObject({ code: 4401 })
  })

  test.each([
    ['that is not good', 'Bearer x.y.z'],
    ['that is no text', 7],
  ])('with 4403 after a token %s', async (_, authorization) => {
    const socket = await openRawSocket(app.url)
    socket.send({ ...INIT, payload: { authorization } })
    expect(await socket.closing).toMatchObject({ code: 4403 })
  })

  test('with 4409 after a second operation of the same id', async () => {
    const socket = await begin(ada.accessToken)
    socket.send(subscribe('1', ALERTS))
    socket.send(subscribe('1', ALERTS))
    expect(await socket.closing).toMatchObject({ code: 4409, reason: 'Subscriber for 1 already exists' })
  })

  test('with 4409 however long the id is', async () => {
    const socket = await begin(ada.accessToken)
    const id = 'ä'.repeat(200)
    for (let time = 0; time < 2; time += 1) socket.send(subscribe(id, ALERTS))
    expect(await socket.closing).toMatchObject({ code: 4409 })
  })

  test('with 4429 after a second beginning', async () => {
    const socket = await begin()
    socket.send(INIT)
    expect(await socket.closing).toMatchObject({ code: 4429 })
  })

  test('with 4406 when it names no protocol', async () => {
    expect(await (await openRawSocket(app.url, {}, [])).closing).toMatchObject({ code: 4406 })
  })
})

describe('a connection', () => {
  test('answers a ping with a pong, before and after it has begun', async () => {
    const socket = await openRawSocket(app.url)
    socket.send({ type: 'ping', payload: { number: 1 } })
    expect(await socket.next()).toEqual({ type: 'pong' })
    // Deeper than anything that would write it could go.
    socket.send(`{"type":"ping","payload":{"a":${'['.repeat(20_000)}${']'.repeat(20_000)}}}`)
    expect(await socket.next()).toEqual({ type: 'pong' })
    socket.send(INIT)
    expect(await socket.next()).toEqual(ACK)
    socket.send({ type: 'ping' })
    expect(await socket.next()).toEqual({ type: 'pong' })
    socket.send({ type: 'pong' })
    socket.send(subscribe('1', '{ me { id } }'))
    expect(await socket.next()).toEqual({ id: '1', type: 'next', payload: { data: { me: null } } })
    expect(await socket.next()).toEqual({ id: '1', type: 'complete' })
  })

  test('may use an id again when its operation is complete', async () => {
    const socket = await begin(ada.accessToken)
    for (let time = 0; time < 2; time += 1) {
      socket.send(subscribe('1', '{ me { id } }'))
      expect(await socket.next()).toMatchObject({ id: '1', type: 'next', payload: { data: { me: { id: ada.id } } } })
      expect(await socket.next()).toEqual({ id: '1', type: 'complete' })
    }
    socket.send(subscribe('1', ALERTS))
    socket.send({ id: '1', type: 'complete' })
    socket.send(subscribe('2', '{ __typename }'))
    expect(await socket.next()).toMatchObject({ id: '2', payload: { data: { __typename: 'Query' } } })
  })

  test('tells the errors of a document as such, and goes on', async () => {
    const socket = await begin()
    socket.send(subscribe('1', '{ you { id } }'))
    expect(await socket.next()).toMatchObject({
      ...{ id: '1', type: 'error' },
      payload: [{ extensions: { code: 'BAD_USER_INPUT' } }],
    })
    socket.send(subscribe('1', '{ __typename }'))
    expect(await socket.next()).toMatchObject({ id: '1', type: 'next' })
  })
})

test.each([
  ['to another path', '/elsewhere', ''],
  ['from a page elsewhere', '/graphql', 'origin: https://evil.example\r\n'],
  ['that is no WebSocket handshake', '/graphql', 'sec-websocket-version: 99\r\n'],
  ['that succeeds', '/graphql', 'sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n'],
])('The server outlives clients that reset an upgrade %s', async (_, path, headers) => {
  const { hostname, port } = new URL(app.url)
  const upgrade = `GET ${path} HTTP/1.1\r\nhost: ${hostname}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n${headers}\r\n`
  const resetting = Array.from({ length: 50 }, async (_each, index) => {
    const socket = connect(Number(port), hostname)
    socket.on('error', () => {})
    const closed = new Promise((resolve) => socket.once('close', resolve))
    // At once, as soon as it is sent, or when the answer comes.
    if (index % 3 === 0) socket.write(upgrade, () => socket.resetAndDestroy())
    else socket.write(upgrade)
    if (index % 3 === 1) setImmediate(() => socket.resetAndDestroy())
    else socket.once('data', () => socket.resetAndDestroy())
    await closed
  })
  await Promise.all(resetting)
  expect((await fetch(`${app.url}/health/live`)).status).toBe(200)
})

test('The server closes the connection of an upgrade that it refuses', async () => {
  const { socket, heard } = openRawConnection(app.url, true)
  socket.write('GET /elsewhere HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n')
  await eventually(heard).toMatch(/^HTTP\/1\.1 404 Not Found\r\n/)
  // This side stays open; what it still sends finds nobody.
  const closed = new Promise((resolve) => socket.once('close', resolve))
  const writing = setInterval(() => socket.write('x'), 10)
  await closed
  clearInterval(writing)
})

test('The server reads no further from a client that reads nothing, and goes on with it when it does', async () => {
  const operations = 600
  // Long to send, and long to read.
  const query = `{ __schema { types { name fields { name args { name description } } } } } # ${'x'.repeat(90_000)}`
  const socket = new WebSocket(`${app.url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws')
  onTestFinished(() => socket.terminate())
  await once(socket, 'open')
  socket.send(JSON.stringify(INIT))
  await once(socket, 'message')
  let answers = 0
  socket.on('message', (message) => {
    answers += Number(JSON.parse(message.toString()).type !== 'complete')
  })
  let taken = 0
  socket.pause()
  for (let operation = 0; operation < operations; operation += 1) {
    socket.send(JSON.stringify(subscribe(`${operation}`, query)), () => {
      taken += 1
    })
  }
  /** Whether the server has taken no more than before, for as long as other clients need for many requests. */
  const isStuck = async () => {
    const before = taken
    for (let request = 0; request < 50; request += 1) await fetch(`${app.url}/health/live`)
    return taken > 0 && taken === before
  }
  await eventually(isStuck).toBe(true)
  // Of 54 MB it holds what the buffers of the system do, and a few more.
  expect(taken).toBeLessThan(operations / 2)
  socket.resume()
  await eventually(() => answers).toBe(operations)
})

test('A client that sends very much at once keeps nobody else waiting until all of it is answered', async () => {
  const operations = 3000
  const socket = await begin()
  const messages = Array.from({ length: operations }, (_, index) => subscribe(`${index}`, '{ you { id } }'))
  for (const message of messages) socket.send(message)
  for (let request = 0; request < 3; request += 1) await fetch(`${app.url}/health/live`)
  expect(socket.received.length).toBeLessThan(operations / 2)
  await eventually(() => socket.received.length).toBe(operations)
})

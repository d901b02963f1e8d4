// What a client hears that is still sending when it is refused: through a proxy, a reset looks like a server that is broken.
import { once } from 'node:events'
import { connect } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { startApp } from '../support/app.js'
import { heldAfter } from '../support/heap.js'

const app = await startApp()
const { hostname, port } = new URL(app.url)

const BODY = 'x'.repeat(300_000)
const JSON_FIELD = 'content-type: application/json\r\n'
const LENGTH = `host: x\r\ncontent-length: ${2 * BODY.length}\r\n`

test.each([
  ['a body that is too long', `POST /graphql HTTP/1.1\r\n${LENGTH}content-type: application/json\r\n\r\n`, 413],
  ['a form that is too long', `POST /verify-email HTTP/1.1\r\n${LENGTH}\r\n`, 413],
  [
    'an upgrade to what we do not know',
    `POST /nope HTTP/1.1\r\n${LENGTH}connection: upgrade\r\nupgrade: x\r\n\r\n`,
    404,
  ],
  ['a WebSocket elsewhere', `GET /nope HTTP/1.1\r\n${LENGTH}connection: upgrade\r\nupgrade: websocket\r\n\r\n`, 404],
  ['a WebSocket by POST', `POST /graphql HTTP/1.1\r\n${LENGTH}connection: upgrade\r\nupgrade: websocket\r\n\r\n`, 400],
  [
    'a WebSocket without a key',
    `GET /graphql HTTP/1.1\r\n${LENGTH}connection: upgrade\r\nupgrade: websocket\r\n\r\n`,
    400,
  ],
  ['very many headers', `POST /graphql HTTP/1.1\r\n${LENGTH}${'a: \r\n'.repeat(250)}\r\n`, 431],
  ['very long headers', `POST /graphql HTTP/1.1\r\n${LENGTH}a: ${'b'.repeat(20_000)}\r\n\r\n`, 431],
  ['what is no header', `POST /graphql HTTP/1.1\r\n${LENGTH}a: \x01\r\n\r\n`, 400],
])('%s: the answer, and no reset while the rest still comes', async (_, head, status) => {
  const socket = connect(Number(port), hostname)
  onTestFinished(() => void socket.destroy())
  await once(socket, 'connect')
  let [answer, failure] = ['', null as NodeJS.ErrnoException | null]
  socket.on('error', (error) => {
    failure = error
  })
  socket.on('data', (chunk) => {
    answer += chunk.toString()
  })
  const answered = once(socket, 'data')
  socket.write(head + BODY)
  await answered
  // Where the server has closed at once, this is what resets the connection.
  await new Promise((resolve) => socket.write(BODY, resolve))
  if (!socket.readableEnded) await once(socket, 'end')
  socket.end()
  await once(socket, 'close')
  expect(answer).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `))
  expect(answer).toMatch(/^connection: close\r$/im)
  expect(failure).toBeNull()
})

test.each([
  ['alone', ''],
  ['behind an answer that waits', 'GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n'],
  ['behind a request that waits', `POST /graphql HTTP/1.1\r\nhost: x\r\n${JSON_FIELD}content-length: 2\r\n\r\n{}`],
])('What is no request ends the connection, and is answered in the midst of no other answer: %s', async (_, before) => {
  const { accessToken } = await app.newUser()
  const socket = connect(Number(port), hostname)
  onTestFinished(() => void socket.destroy())
  let answer = ''
  socket.on('data', (chunk) => {
    answer += chunk.toString()
  })
  const body = JSON.stringify({ query: 'subscription { securityAlerts { cursor } }' })
  const fields = `host: x\r\ncontent-type: application/json\r\naccept: text/event-stream\r\ncontent-length: ${body.length}`
  socket.write(`POST /graphql HTTP/1.1\r\nauthorization: Bearer ${accessToken}\r\n${fields}\r\n\r\n${body}`)
  await once(socket, 'data')
  socket.write(`${before}no request\r\n\r\n`)
  await once(socket, 'close')
  expect(answer.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 200'])
})

test('What comes after a last answer is not read as a request', async () => {
  const socket = connect(Number(port), hostname)
  onTestFinished(() => void socket.destroy())
  const get = 'GET /health/live HTTP/1.1\r\nhost: x\r\n'
  socket.write(`${get}connection: upgrade\r\nupgrade: x\r\n\r\n`)
  await once(socket, 'readable')
  socket.write(`${get}\r\n${get}\r\n`)
  let answer = ''
  for await (const chunk of socket) answer += chunk.toString()
  expect(answer.match(/HTTP\/1\.1 \d/g)).toEqual(['HTTP/1.1 2'])
})

test('However many requests come after a last answer, nothing of them is kept', async () => {
  const socket = connect(Number(port), hostname)
  onTestFinished(() => void socket.destroy())
  socket.write('GET /health/live HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n')
  await once(socket, 'readable')
  const many = 'GET / HTTP/1.1\r\nhost:\r\n\r\n'.repeat(300_000)
  const held = await heldAfter(() => new Promise((resolve) => socket.write(many, resolve)))
  expect(held).toBeLessThan(10)
})

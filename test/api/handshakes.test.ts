// Answers that node:http does not write: to WebSocket handshakes, and to what is no request at all.
import { once } from 'node:events'
import { connect } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { startApp } from '../support/app.js'
import { eventually } from '../support/eventually.js'
import { openRawConnection, tell } from '../support/raw-connection.js'
import { openRawSocket } from '../support/streams.js'

const env = { NODE_ENV: 'production', SMTP_URL: 'smtp://127.0.0.1:9', PUBLIC_URL: 'https://auth.example.com' }
const app = await startApp({ env })

const handshake = (path: string, ...headers: string[]) =>
  [
    `GET ${path} HTTP/1.1`,
    ...['host: x', 'connection: upgrade', 'upgrade: websocket', 'sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=='],
    ...['sec-websocket-protocol: graphql-transport-ws', ...headers, '', ''],
  ].join('\r\n')
const VERSION = 'sec-websocket-version: 13'

/** The head of the answer to what is sent. */
async function headOf(text: string): Promise<{ statusLine: string; headers: Headers }> {
  const { hostname, port } = new URL(app.url)
  const socket = connect(Number(port), hostname)
  onTestFinished(() => void socket.destroy())
  socket.write(text)
  const [answer] = await once(socket, 'data')
  const [statusLine = '', ...lines] = String(answer).split('\r\n\r\n', 1)[0]?.split('\r\n') ?? []
  return { statusLine, headers: new Headers(lines.map((line) => line.split(': ', 2) as [string, string])) }
}

test.each([
  ['101 Switching Protocols', handshake('/graphql', VERSION)],
  ['404 Not Found', handshake('/elsewhere', VERSION)],
  ['403 Forbidden', handshake('/graphql', VERSION, 'origin: https://evil.example')],
  ['400 Bad Request', handshake('/graphql', 'sec-websocket-version: 12')],
  ['431 Request Header Fields Too Large', handshake('/graphql', VERSION, ...new Array(200).fill('x-more: 1'))],
  ['400 Bad Request', 'HELLO\r\n\r\n'],
  ['431 Request Header Fields Too Large', `GET / HTTP/1.1\r\nhost: x\r\nx-long: ${'x'.repeat(20_000)}\r\n\r\n`],
])('%s carries the security headers and a request id', async (status, text) => {
  const { statusLine, headers } = await headOf(text)
  expect(statusLine).toBe(`HTTP/1.1 ${status}`)
  expect(Object.fromEntries(headers)).toMatchObject({
    'content-security-policy': "default-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    'x-content-type-options': 'nosniff',
    'referrer-policy': 'no-referrer',
    'cache-control': 'no-store',
    'strict-transport-security': 'max-age=63072000; includeSubDomains',
    'x-request-id': expect.stringMatching(/^[0-9a-f-]{36}$/),
  })
})

test('A handshake is one in whatever case it names what it upgrades to (RFC 6455 section 4.2.1)', async () => {
  const text = handshake('/graphql', VERSION).replace('upgrade: websocket', 'Upgrade: WebSocket')
  expect((await headOf(text)).statusLine).toBe('HTTP/1.1 101 Switching Protocols')
})

test('The id of a handshake is that of the request, when it is a sane one', async () => {
  const { headers } = await headOf(handshake('/graphql', VERSION, 'x-request-id: of-this-test'))
  expect(headers.get('x-request-id')).toBe('of-this-test')
})

test('What happens on a connection has the id that its handshake was answered with', async () => {
  const server = await startApp()
  const socket = await openRawSocket(server.url)
  socket.send({ type: 'connection_init' })
  await socket.next()
  const input = '{ identifier: "nobody@example.com", password: "wrong", tokenDelivery: BODY }'
  const query = `mutation { login(input: ${input}) { __typename } }`
  socket.send({ id: '1', type: 'subscribe', payload: { query } })
  expect(await socket.next()).toMatchObject({ payload: { data: { login: { __typename: 'InvalidCredentialsError' } } } })
  const failures = (await server.allEvents()).filter(({ type }) => type === 'LOGIN_FAILED')
  expect(failures).toMatchObject([{ correlationId: socket.requestId }])
})

test('Who resets the connection when a handshake is refused does not end the process', async () => {
  // An error that nobody listens to fails the run.
  const { hostname, port } = new URL(app.url)
  for (let time = 0; time < 20; time += 1) {
    const socket = connect(Number(port), hostname)
    socket.write(handshake('/elsewhere', VERSION))
    await once(socket, 'data')
    socket.resetAndDestroy()
  }
  expect((await headOf(handshake('/graphql', VERSION))).statusLine).toBe('HTTP/1.1 101 Switching Protocols')
})

const LIVE = 'GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n'

test.each(['/graphql', '/elsewhere'])(
  'A handshake that is sent ahead of an answer has none, which would be taken for that one: %s',
  async (path) => expect(await tell(app.url, `${LIVE}${handshake(path, VERSION)}`)).toBe(''),
)

test('A handshake behind an answer, on its connection, is one', async () => {
  const { socket, heard } = openRawConnection(app.url)
  socket.write(LIVE)
  await eventually(heard).toContain('{"status":"live"}')
  socket.write(handshake('/graphql', VERSION))
  await eventually(heard).toContain('HTTP/1.1 101 Switching Protocols')
})

import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { GraphQLError } from 'graphql'
import { expect, onTestFinished, test, vi } from 'vitest'
import { createConnections } from '../../src/http/connections.js'
import { readBody } from '../../src/http/responses.js'
import { createHttpServer, type Handler } from '../../src/http/server.js'
import { deferred } from '../support/deferred.js'
import { createTestLog } from '../support/log.js'
import { openRawConnection, tell } from '../support/raw-connection.js'

const WAIT = { timeout: 60_000, interval: 1 }

async function startServer(handler: Handler) {
  const log = createTestLog()
  const { server } = createHttpServer({
    routes: { '/': { '*': handler } },
    ...{ headers: [], productName: 'Portcullis', requestTimeoutMs: 5_000, patienceMs: 5_000, log },
    readClient: () => ({ correlationId: 'of-this-request' }) as never,
    openTransport: () => ({}) as never,
    maskError: () => new GraphQLError('It failed.', { extensions: { code: 'INTERNAL_SERVER_ERROR' } }),
    connections: createConnections({ maxUnreadBytes: 1_000_000, headers: [], log }),
    onResponse: () => {},
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return { log, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }
}

test('A request that fails is answered with its masked error', async () => {
  const { url, log } = await startServer(() => Promise.reject(new Error('of the handler')))
  const answer = await fetch(url)
  expect(answer.status).toBe(500)
  expect(await answer.json()).toMatchObject({ errors: [{ extensions: { correlationId: 'of-this-request' } }] })
  expect(log.problems.map(({ message }) => message)).toEqual(['A request failed'])
})

test('A request that fails in the midst of its answer is cut off: there is no other answer to give', async () => {
  const { url, log } = await startServer(({ response }) => {
    response.writeHead(200, { 'content-length': 10 }).write('begun')
    throw new Error('of the handler')
  })
  await expect(fetch(url).then((answer) => answer.text())).rejects.toThrow(TypeError)
  expect(log.problems.map(({ message }) => message)).toEqual(['A request failed'])
})

test.each([
  [32, 33],
  [33, 0],
])(
  'Of %i requests that are sent ahead behind one that takes long, and that, %i are answered',
  async (count, answered) => {
    const first = deferred()
    let taken = 0
    const { url } = await startServer(async ({ head }) => {
      taken += 1
      if (taken === 1) await first.promise
      head.send(204)
    })
    const request = 'GET / HTTP/1.1\r\nhost: x\r\n'
    const ahead = `${request}\r\n`.repeat(count)
    const heard = tell(url, `${ahead}${request}connection: close\r\n\r\n`)
    await vi.waitUntil(() => taken > 0, WAIT)
    // Each is taken up when the one before it was answered.
    expect(taken).toBe(1)
    first.resolve()
    expect((await heard).split('HTTP/1.1 204')).toHaveLength(answered + 1)
  },
)

test('Who sends a request ahead time and again has as many wait each time', async () => {
  const { url } = await startServer(({ head }) => {
    head.set('content-length', 0)
    head.send(200)
  })
  const { socket, heard } = openRawConnection(url)
  for (let times = 1; times <= 40; times += 1) {
    socket.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n'.repeat(2))
    await vi.waitUntil(() => heard().split('HTTP/1.1 200').length > 2 * times, WAIT)
  }
})

const announced = (body: string, length = body.length) => `content-length: ${length}\r\n\r\n${body}`
const inChunks = (body: string) => {
  const chunks = body.match(/.{1,300}/g) ?? []
  const sent = chunks.map((chunk) => `${chunk.length.toString(16)}\r\n${chunk}\r\n`)
  return `transfer-encoding: chunked\r\n\r\n${sent.join('')}0\r\n\r\n`
}
const MAX = 30_000

test.each([
  ['that is as long as may be', announced('x'.repeat(MAX)), 'all of it'],
  ['that is longer, announced and not even sent', announced('', MAX + 1), 'null'],
  ['in chunks, more than are kept apart, that is as long as may be', inChunks('x'.repeat(MAX)), 'all of it'],
  ['in chunks that is longer', inChunks('x'.repeat(MAX + 1)), 'null'],
])('A body %s is read as it may be', async (_, body, expected) => {
  const { url } = await startServer(async ({ request, head }) => {
    const read = await readBody(request, MAX)
    head.set('connection', 'close')
    head.send(200, read?.toString() === 'x'.repeat(MAX) ? 'all of it' : String(read))
  })
  expect((await tell(url, `POST / HTTP/1.1\r\nhost: x\r\n${body}`)).split('\r\n')).toContain(expected)
})

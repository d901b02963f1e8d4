import { once } from 'node:events'
import { afterEach, describe, expect, test } from 'vitest'
import { startApp } from '../support/app.js'
import { openRawConnection } from '../support/raw-connection.js'

const app = await startApp({ env: { REQUEST_TIMEOUT: '500ms' } })
const BODY_LIMIT = 100 * 1024
const POST = 'POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n'

afterEach(async () => {
  const { data } = await app.anonymous.post(JSON.stringify({ query: '{ me { id } }' }))
  expect(data).toEqual({ me: null })
})

/** A connection that sends `start`, then `more` again and again for as long as it is let. Gives the answer, if any. */
async function drip(start: string, more: string, everyMs: number): Promise<{ answer: string; sent: number }> {
  const { socket, heard } = openRawConnection(app.url)
  let sent = 0
  await once(socket, 'connect')
  socket.write(start)
  const sending = setInterval(() => {
    if (socket.writableNeedDrain || !socket.writable) return
    socket.write(more)
    sent += more.length
  }, everyMs)
  await new Promise((resolve) => socket.once('close', resolve))
  clearInterval(sending)
  return { answer: heard(), sent }
}

describe('The server cuts off a client that', () => {
  test('says nothing', async () => {
    const { answer } = await drip('', '', 1000)
    expect(answer).toMatch(/^(HTTP\/1\.1 408 |$)/)
  })

  test('sends its headers slowly and without an end', async () => {
    const { answer, sent } = await drip('GET /graphql HTTP/1.1\r\nhost: x\r\n', 'x-a: b\r\n', 50)
    expect(answer).toMatch(/^HTTP\/1\.1 408 Request Timeout\r\n/)
    expect(sent).toBeLessThan(5000)
  })

  test('sends its body slowly', async () => {
    const { sent } = await drip(`${POST}content-length: 50000\r\n\r\n{"query":"`, ' ', 50)
    expect(sent).toBeLessThan(1000)
  })

  test('sends its chunks slowly', async () => {
    const { sent } = await drip(`${POST}transfer-encoding: chunked\r\n\r\n`, '1\r\n \r\n', 50)
    expect(sent).toBeLessThan(5000)
  })

  test('sends huge headers', async () => {
    const { answer, sent } = await drip('GET /graphql HTTP/1.1\r\nhost: x\r\n', `x-a: ${'b'.repeat(4000)}\r\n`, 1)
    expect(answer).toMatch(/^(HTTP\/1\.1 431 Request Header Fields Too Large\r\n|$)/)
    expect(sent).toBeLessThan(10_000_000)
  })

  test.each([
    ['sends an endless body in chunks', `${POST}transfer-encoding: chunked\r\n\r\n`, `1000\r\n${'x'.repeat(4096)}\r\n`],
    ['announces a body of 10 GB', `${POST}content-length: 10000000000\r\n\r\n`, 'x'.repeat(4096)],
  ])('%s', async (_, start, more) => {
    const { answer, sent } = await drip(start, more, 1)
    expect(answer).toMatch(/^(HTTP\/1\.1 413 Payload Too Large\r\n|$)/)
    // What the buffers on the way take is beyond the server.
    expect(sent).toBeLessThan(100 * BODY_LIMIT)
  })
})

test.each([
  ['announced', { 'content-length': `${BODY_LIMIT + 1}` }],
  ['in chunks', { 'transfer-encoding': 'chunked' }],
])('A body of over 100 KB, %s, is answered with 413 before the connection closes', async (_, header) => {
  const [[name, value] = []] = Object.entries(header)
  const body = 'x'.repeat(BODY_LIMIT + 1)
  const content = value === 'chunked' ? `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n` : body
  const { answer } = await drip(`${POST}${name}: ${value}\r\n\r\n${content}`, '', 1000)
  expect(answer).toMatch(/^HTTP\/1\.1 413 Payload Too Large\r\n/)
  expect(answer).toMatch(/connection: close\r\n/i)
  expect(answer).toContain('"too_large"')
})

test('MAX_BODY_BYTES is a setting', async () => {
  const { anonymous } = await startApp({ env: { MAX_BODY_BYTES: '1024' } })
  const body = (padding: number) => JSON.stringify({ query: '{ me { id } }', padding: 'x'.repeat(padding) })
  expect((await anonymous.post(body(900))).status).toBe(200)
  expect((await anonymous.post(body(1024))).status).toBe(413)
})

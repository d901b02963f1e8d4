// What costs the server much more than the client that sends it.
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { afterEach, describe, expect, onTestFinished, test } from 'vitest'
import { startApp } from '../support/app.js'
import { lockDatabase } from '../support/database-lock.js'
import { eventually } from '../support/eventually.js'
import { heldAfter, heldBytes } from '../support/heap.js'
import { metric } from '../support/metrics.js'
import { STALLED } from '../support/stall.js'
import { openStream } from '../support/streams.js'

const app = await startApp({ env: { DATABASE_POOL_SIZE: '20' } })
const { hostname, port } = new URL(app.url)
const JSON_POST = 'POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n'
const FORM_POST = 'POST /verify-email HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\n'
const CHUNKED = 'transfer-encoding: chunked\r\n\r\n'
const BODY = '{"query":"{ csrfToken }"}'

const get = (headers: number, more = '') =>
  `GET /health/live HTTP/1.1\r\nhost: x\r\n${'a:\r\n'.repeat(headers - 1)}${more}\r\n`

afterEach(async () => {
  expect(await (await fetch(`${app.url}/health/live`)).json()).toEqual({ status: 'live' })
})

async function open(text: string): Promise<Socket> {
  const socket = connect(Number(port), hostname)
  onTestFinished(() => void socket.destroy())
  socket.on('error', () => {})
  await once(socket, 'connect')
  socket.write(text)
  return socket
}

/** Each of which is another one: what is the same is kept once. */
const trailers = (count: number) => Array.from({ length: count }, (_, index) => `a${index + 1000}:\r\n`).join('')

/** All that the server says, until it closes the connection. */
async function listen(socket: Socket): Promise<string> {
  let answer = ''
  for await (const chunk of socket) answer += chunk.toString()
  return answer
}

/** Who connects later is answered when what came before has been read. */
const untilRead = async () => void (await listen(await open(get(1, 'connection: close\r\n'))))

const isDone = (answer: string) => expect(answer).toMatch(/^HTTP\/1\.1 200 /)
const crumbs = (text: string) => [...text].map((sign) => `1\r\n${sign}\r\n`).join('')

test('Cookies that nobody asks for are read into nothing while a request waits for its body', async () => {
  const cookie = Array.from({ length: 3000 }, (_, index) => `${index.toString(36)}=`).join(';')
  const before = heldBytes()
  const sockets: Socket[] = []
  while (sockets.length < 300) {
    sockets.push(await open(`${JSON_POST}connection: close\r\ncookie: ${cookie}\r\n${CHUNKED}1\r\n{\r\n`))
    await untilRead()
  }

  expect(heldBytes() - before).toBeLessThan(12_000_000)
  const rest = BODY.slice(1)
  for (const socket of sockets) socket.write(`${rest.length.toString(16)}\r\n${rest}\r\n0\r\n\r\n`)
  for (const answer of await Promise.all(sockets.map(listen))) isDone(answer)
})

describe('A body in', () => {
  test.each([
    ['an operation', JSON_POST],
    ['a form', FORM_POST],
  ])('thousands of pieces is refused before it ends: %s', async (_, post) => {
    const answer = await listen(await open(`${post}${CHUNKED}${crumbs(' '.repeat(1001))}`))
    expect(answer).toMatch(/^HTTP\/1\.1 413 Payload Too Large\r\n/)
    expect(answer).toMatch(/^connection: close\r$/im)
  })

  test('hundreds of pieces is read, and takes no more memory than one', async () => {
    const before = heldBytes()
    const sockets: Socket[] = []
    while (sockets.length < 200) {
      sockets.push(await open(`${JSON_POST}connection: close\r\n${CHUNKED}${crumbs(BODY.padEnd(900))}`))
      await untilRead()
    }
    expect(heldBytes() - before).toBeLessThan(20_000_000)
    for (const socket of sockets) socket.write('0\r\n\r\n')
    for (const answer of await Promise.all(sockets.map(listen))) isDone(answer)
  })

  test('thousands of pieces that nobody reads takes little memory', async () => {
    const { accessToken } = await app.newUser()
    const query = encodeURIComponent('subscription { securityAlerts { cursor } }')
    const fields = `host: x\r\naccept: text/event-stream\r\nauthorization: Bearer ${accessToken}\r\n`
    const before = heldBytes()
    for (let count = 0; count < 20; count += 1) {
      await open(`GET /graphql?query=${query} HTTP/1.1\r\n${fields}${CHUNKED}${crumbs('x'.repeat(15_000))}`)
      await untilRead()
    }
    expect(heldBytes() - before).toBeLessThan(20_000_000)
  })

  test('a thousand pieces that are no smaller than those of a network is read', async () => {
    const { url, anonymous } = await startApp({ env: { MAX_BODY_BYTES: '1000000' } })
    expect((await anonymous.post(BODY)).status).toBe(200)
    const socket = connect(Number(new URL(url).port), hostname)
    onTestFinished(() => void socket.destroy())
    const piece = ' '.repeat(512)
    socket.write(`${JSON_POST}connection: close\r\n${CHUNKED}${BODY.length.toString(16)}\r\n${BODY}\r\n`)
    socket.write(`${`200\r\n${piece}\r\n`.repeat(1200)}0\r\n\r\n`)
    isDone(await listen(socket))
  })
})

describe('A request with', () => {
  test('two hundred headers is answered, and with more it is refused, which ends its connection', async () => {
    const refused = () => metric(app.url, 'http_request_duration_seconds_count{path="/health/live",status="431"}')
    expect(await refused()).toBe(0)
    const answer = await listen(await open(get(200) + get(201) + get(1)))
    expect(answer.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 200', 'HTTP/1.1 431'])
    expect(answer).toMatch(/^connection: close\r$/im)
    expect(answer.match(/^cache-control: no-store\r$/gim)).toHaveLength(2)
    expect(answer.match(/^x-request-id: [0-9a-f-]{36}\r$/gim)).toHaveLength(2)
    expect(await refused()).toBe(1)
  })

  test.each([
    ['thousands of headers', get(2700)],
    ['an expectation and thousands of headers', get(2700, 'expect: x\r\n')],
    ['thousands of trailers', `${JSON_POST}${CHUNKED}0\r\n${trailers(1700)}\r\n`],
    ['hundreds of pieces', `${JSON_POST}${CHUNKED}${crumbs('x'.repeat(900))}0\r\n\r\n`],
  ])('%s takes little memory while it waits behind another one', async (_, request) => {
    const ada = await app.newUser()
    const body = '{"query":"subscription { securityAlerts { cursor } }"}'
    const fields = `accept: text/event-stream\r\nauthorization: Bearer ${ada.accessToken}\r\n`
    const followed = `${JSON_POST}${fields}content-length: ${body.length}\r\n\r\n${body}`
    const before = heldBytes()
    for (let count = 0; count < 20; count += 1) {
      await open(followed + request.repeat(30))
      await untilRead()
    }
    expect(heldBytes() - before).toBeLessThan(20_000_000)
  })
})

describe('Of the variables that an operation does not declare, nothing is kept while it goes on:', () => {
  /** 90 KB of text, and some megabytes when it is read. */
  const variables = { list: new Array(30_000).fill({}) }

  test('a stream of events', async () => {
    const { accessToken: token } = await app.newUser()
    const held = await heldAfter(async () => {
      for (let index = 0; index < 40; index += 1)
        await openStream(app.url, { token }, 'subscription { securityAlerts { cursor } }', variables)
      await eventually(() => metric(app.url, 'event_subscribers')).toBe(40)
    })
    expect(held).toBeLessThan(25)
  })

  test.each(['application/json', 'application/json;q=0.9'])('what waits, answered as %s', async (accept) => {
    const lock = await lockDatabase(app.installation, 'LOCK TABLE login_throttles IN ACCESS EXCLUSIVE MODE')
    const body = JSON.stringify({ query: STALLED, variables })
    const underWay: Promise<Response>[] = []
    const held = await heldAfter(async () => {
      for (let index = 0; index < 8; index += 1) {
        const headers = { accept, 'content-type': 'application/json' }
        underWay.push(fetch(`${app.url}/graphql`, { method: 'POST', headers, body }))
      }
      await lock.untilWaiting(8)
    })
    expect(held).toBeLessThan(8)
    await lock.release()
    for (const answer of await Promise.all(underWay)) expect(answer.status).toBe(200)
  })
})

describe('Nor is anything of the extensions of', () => {
  const extensions = { list: new Array(30_000).fill({}) }
  const post = (query: string, headers: Record<string, string>) => {
    const body = JSON.stringify({ query, extensions })
    return fetch(`${app.url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body,
    })
  }

  test('what waits', async () => {
    const lock = await lockDatabase(app.installation, 'LOCK TABLE login_throttles IN ACCESS EXCLUSIVE MODE')
    const underWay: Promise<Response>[] = []
    const held = await heldAfter(async () => {
      while (underWay.length < 8) underWay.push(post(STALLED, {}))
      await lock.untilWaiting(8)
    })
    expect(held).toBeLessThan(8)
    await lock.release()
    for (const answer of await Promise.all(underWay)) expect(answer.status).toBe(200)
  })

  test('a stream of events', async () => {
    const { accessToken } = await app.newUser()
    const headers = { accept: 'text/event-stream', authorization: `Bearer ${accessToken}` }
    const streams: Response[] = []
    const before = await metric(app.url, 'event_subscribers')
    const held = await heldAfter(async () => {
      while (streams.length < 20) streams.push(await post('subscription { securityAlerts { cursor } }', headers))
      await eventually(() => metric(app.url, 'event_subscribers')).toBe(before + 20)
    })
    expect(held).toBeLessThan(15)
    for (const { body } of streams) await body?.cancel()
  })
})

test('A single result is no stream, also as an event: what its client leaves unread counts', async () => {
  const headers = { accept: 'text/event-stream', 'content-type': 'application/json' }
  const body = JSON.stringify({ query: '{ me { id } }' })
  const answer = await fetch(`${app.url}/graphql`, { method: 'POST', headers, body })
  expect(answer.headers.get('content-type')).toMatch(/^text\/event-stream/)
  expect(answer.headers.get('content-length')).toBe(`${(await answer.text()).length}`)
})

test('A connection that waits for its next request keeps nothing of the last one', async () => {
  const body = 'x'.repeat(100_000)
  const before = heldBytes()
  const sockets: Socket[] = []
  while (sockets.length < 100) {
    const socket = await open(`${JSON_POST}content-length: ${body.length}\r\n\r\n${body}`)
    await once(socket, 'readable')
    sockets.push(socket)
  }
  // Node frees some of it only later.
  await eventually(() => heldBytes() - before).toBeLessThan(5_000_000)
  for (const socket of sockets) expect(socket.read().toString()).toMatch(/^HTTP\/1\.1 400 /)
})

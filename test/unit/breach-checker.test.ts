import { createHash } from 'node:crypto'
import dns from 'node:dns'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest'
import { createBreachChecker } from '../../src/infra/breach-checker.js'
import { heldBytes } from '../support/heap.js'

const digest = createHash('sha1').update('correct horse battery staple').digest('hex').toUpperCase()
const suffix = digest.slice(5)
const padding = `${'0'.repeat(35)}:0`

let answer: (request: IncomingMessage, response: ServerResponse) => void = () => {}
const requests: IncomingMessage[] = []
const server = createServer((request, response) => {
  requests.push(request)
  answer(request, response)
})
let url = ''
beforeAll(async () => {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/range/`
})
afterAll(() => {
  server.closeAllConnections()
  server.close()
})

test('only five digits of the hash leave the process, and padding is asked for', async () => {
  answer = (_, response) => response.end(`${padding}\r\n${suffix}:42`)
  expect(await createBreachChecker(url).isBreached(digest, 5000)).toBe(true)
  const last = requests.at(-1)
  expect(last?.url).toBe(`/range/${digest.slice(0, 5)}`)
  expect(last?.headers['add-padding']).toBe('true')
  expect(JSON.stringify(last?.headers)).not.toContain(suffix)
})

test.each([
  ['an empty range', '', false],
  ['other suffixes', `${'A'.repeat(35)}:7`, false],
  ['its suffix as padding', `${suffix}:0`, false],
  ['its suffix in lower case', `${suffix.toLowerCase()}:1`, true],
])('%s', async (_, body, expected) => {
  answer = (_request, response) => response.end(body)
  expect(await createBreachChecker(url.slice(0, -1)).isBreached(digest, 5000)).toBe(expected)
})

const redirect = (response: ServerResponse) =>
  response.req.url === '/elsewhere'
    ? response.end(`${suffix}:42`)
    : response.writeHead(302, { location: '/elsewhere' }).end()

test.each([
  ['an error', (response: ServerResponse) => response.writeHead(503).end(`${suffix}:42`)],
  ['a redirection', (response: ServerResponse) => redirect(response)],
  ['a lost connection', (response: ServerResponse) => response.destroy()],
  ['silence', () => {}],
  ['half an answer', (response: ServerResponse) => response.write(`${suffix}:42`)],
])('%s is no answer', async (_, reply) => {
  answer = (_request, response) => reply(response)
  expect(await createBreachChecker(url).isBreached(digest, 300)).toBeNull()
})

test('a very long answer is none, and is not read to its end', async () => {
  const block = Buffer.alloc(1_000_000, `${padding}\r\n`)
  answer = (_request, response) => {
    for (let sent = 0; sent < 20; sent += 1) response.write(block)
    response.end(`\r\n${suffix}:42`)
  }
  expect(await createBreachChecker(url).isBreached(digest, 30_000)).toBeNull()
})

test('an answer that comes to no end is given up, whatever is collected as garbage meanwhile', async () => {
  answer = (_request, response) => response.write(`${padding}\r\n`)
  const collecting = setInterval(heldBytes, 20)
  onTestFinished(() => clearInterval(collecting))
  expect(await createBreachChecker(url).isBreached(digest, 500)).toBeNull()
}, 10_000)

test('an unreachable service is no answer', async () => {
  expect(await createBreachChecker('http://127.0.0.1:1/range/').isBreached(digest, 1000)).toBeNull()
})

test('turned off, nothing is breached', async () => {
  expect(await createBreachChecker(null).isBreached(digest, 1)).toBe(false)
})

// Nothing ends a look-up that has begun, and those of the database's name would wait behind them.
test('of a name that no resolver answers, one look-up is under way at a time', async () => {
  const look = vi.spyOn(dns.promises, 'lookup').mockReturnValue(new Promise<never>(() => {}))
  // It looks for itself, each time.
  const asked = vi.spyOn(globalThis, 'fetch')
  onTestFinished(() => [look, asked].forEach((spy) => void spy.mockRestore()))
  const { isBreached } = createBreachChecker('http://breaches.example/range/')
  expect(await Promise.all(Array.from({ length: 5 }, () => isBreached(digest, 50)))).toEqual(Array(5).fill(null))
  expect([look.mock.calls.length, asked.mock.calls.length]).toEqual([1, 0])
})

import { once } from 'node:events'
import { Agent, request } from 'node:http'
import { text } from 'node:stream/consumers'
import { expect, onTestFinished, test } from 'vitest'
import { startApp } from '../support/app.js'
import { eventually } from '../support/eventually.js'
import { metric } from '../support/metrics.js'
import { openRawConnection } from '../support/raw-connection.js'

const app = await startApp()
const MANY = 100
const AHEAD = 30
const ATTACKER = { 'x-forwarded-for': '198.51.100.1' }
const STRANGER = { 'x-forwarded-for': '203.0.113.1' }

type Sender = (method: string, path: string, body?: string) => string[]

/** A connection of its own, which is there already. */
async function openPages(headers: Record<string, string>): Promise<Sender> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  onTestFinished(() => agent.destroy())
  const type = 'application/x-www-form-urlencoded'
  const send: Sender = (method, path, body = '') => {
    const received: string[] = []
    const options = { method, agent, headers: { ...headers, 'content-type': type } }
    request(app.url + path, options, async (answer) => received.push(await text(answer))).end(body)
    return received
  }
  const first = send('GET', '/verify-email')
  await eventually(() => first).toHaveLength(1)
  return send
}

test.each<[string, string, string, string, string]>([
  ['forms with thousands of fields', 'POST', '/verify-email', 'a&'.repeat(8000), 'The form has expired'],
  ['forms that are no UTF-8', 'POST', '/reset-password', '%e4=%e4&'.repeat(2000), 'Not readable'],
  ['links with long tokens', 'GET', `/not-me?token=${"'".repeat(5_000)}`, '', '<form'],
])('Many %s keep nobody else waiting', async (_, method, path, body, told) => {
  const ask = await openPages(STRANGER)
  const senders = await Promise.all(Array.from({ length: MANY }, () => openPages(ATTACKER)))
  const flood = senders.map((send) => send(method, path, body))
  const answered = () => flood.filter(([answer]) => answer !== undefined)

  const answers = ask('GET', '/verify-email')
  await expect.poll(() => answers, { interval: 1 }).toHaveLength(1)
  expect(answered().length).toBeLessThan(MANY / 2)
  await eventually(() => answered().length).toBe(MANY)
  for (const [answer] of answered()) expect(answer).toContain(told)
})

// What comes in one go would be answered in one go.
test('Very many requests for a page that are sent ahead keep nobody else waiting', async () => {
  const ahead = 'GET /verify-email HTTP/1.1\r\nhost: localhost\r\n\r\n'.repeat(AHEAD)
  const connections = Array.from({ length: 15 }, () => openRawConnection(app.url))
  await Promise.all(connections.map(({ socket }) => once(socket, 'connect')))
  const done = () => metric(app.url, 'http_request_duration_seconds_count{path="/verify-email",status="200"}')
  const before = await done()
  for (const { socket } of connections) socket.write(ahead)

  // Also an answer to somebody else.
  expect((await done()) - before).toBeLessThan((connections.length * AHEAD) / 2)
  const answered = () => connections.flatMap(({ heard }) => heard().match(/HTTP\/1\.1 200/g) ?? []).length
  await eventually(answered).toBe(connections.length * AHEAD)
})

test('Of the fields of a URL the first twenty are read', async () => {
  const hasToken = async (search: string) =>
    (await (await fetch(`${app.url}/verify-email?${search}`)).text()).includes('name="token"')
  expect(await hasToken(`${'utm_source=%e4&'.repeat(19)}token=abc`)).toBe(true)
  expect(await hasToken(`${'a&'.repeat(20)}token=abc`)).toBe(false)
})

import { once } from 'node:events'
import { Agent, request } from 'node:http'
import { text } from 'node:stream/consumers'
import { expect, onTestFinished, test } from 'vitest'
import { startApp } from '../support/app.js'
import { eventually } from '../support/eventually.js'
import { heldBytes } from '../support/heap.js'
import { metric } from '../support/metrics.js'
import { openRawConnection } from '../support/raw-connection.js'
import { openRawSocket, openSocket } from '../support/streams.js'

const app = await startApp()
const narrow = await startApp({ env: { MAX_IN_FLIGHT: '20' } })
const MANY = 100
const SOME = 30
const EVERY_ROUND = { interval: 1, timeout: 60_000 }
const ATTACKER = { 'x-forwarded-for': '198.51.100.1' }
const STRANGER = { 'x-forwarded-for': '203.0.113.1' }
const KNOWN = '{ __typename }'
const NAMES = Array.from({ length: 50 }, (_, index) => `F${index}`)

/** What takes long to read, and was not sent before. */
function wrongDocument(index: number): string {
  const fragments = NAMES.map((name) => `fragment ${name} on User { a${index}: id ${'id '.repeat(15)} }`)
  return `{ me { ${NAMES.map((name) => `...${name}`).join(' ')} } } ${fragments.join(' ')}`
}

/** Each name is a new one to whoever reads the object. */
const namesOf = (length: number) => Object.fromEntries(Array.from({ length }, (_, index) => [`k${index}`, 1]))
/** 90 KB of them, and 3 KB. */
const [MANY_NAMES, SOME_NAMES] = [namesOf(9000), namesOf(300)]

/** Sends a document; what comes back is in the list then. */
type Sender = (query: string, variables?: object) => unknown[]

/** A connection of its own for requests, which is there already. */
async function openRequests(url: string, headers: Record<string, string>, method = 'POST'): Promise<Sender> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  onTestFinished(() => agent.destroy())
  const options = { method, agent, headers: { 'content-type': 'application/json', ...headers } }
  const send: Sender = (query, variables = {}) => {
    const received: string[] = []
    const inUrl = `?${new URLSearchParams({ query, variables: JSON.stringify(variables) })}`
    const [search, body] = method === 'GET' ? [inUrl, ''] : ['', JSON.stringify({ query, variables })]
    const sending = request(`${url}/graphql${search}`, options, async (answer) => received.push(await text(answer)))
    sending.end(body)
    return received
  }
  const first = send(KNOWN)
  await eventually(() => first).toHaveLength(1)
  return send
}

async function openWebSocket(url: string): Promise<Sender> {
  const { follow } = await openSocket(url, { headers: ATTACKER })
  return (query, variables) => follow(query, variables).received
}

// Each takes the process a while in one go, counts for no limit, and comes on a connection of its own.
const WAYS: [string, (url: string) => Promise<Sender>][] = [
  ['requests', (url) => openRequests(url, ATTACKER)],
  ['requests that Yoga answers', (url) => openRequests(url, { ...ATTACKER, accept: 'application/json;q=0.9' })],
  ['event streams', (url) => openRequests(url, { ...ATTACKER, accept: 'text/event-stream' })],
  ['WebSockets', openWebSocket],
]

const SLOW: [string, (send: Sender, index: number) => unknown[], string][] = [
  ['documents', (send, index) => send(wrongDocument(index)), 'QUERY_TOO_COMPLEX'],
  ['variables', (send) => send(KNOWN, MANY_NAMES), '__typename'],
]

const SHORTER: (typeof SLOW)[number] = ['variables of some kilobytes', (send) => send(KNOWN, SOME_NAMES), '__typename']
// A URL has no room for more.
const slowOver = (name: string) => (name === 'GETs' ? [SHORTER] : [...SLOW, SHORTER])
const GETS: (typeof WAYS)[number] = ['GETs', (url) => openRequests(url, ATTACKER, 'GET')]

test.each(
  [...WAYS, GETS].flatMap(([name, open]) =>
    slowOver(name).map(([what, sendTo, told]) => [name, what, open, sendTo, told] as const),
  ),
)('Many %s with %s that take long to read keep nobody else waiting', async (name, what, open, sendTo, told) => {
  const ask = await openRequests(app.url, STRANGER)
  const senders = await Promise.all(Array.from({ length: MANY }, () => open(app.url)))
  const flood = senders.map(sendTo)
  const answered = () => flood.filter(([answer]) => answer !== undefined)

  for (const query of [KNOWN, `${KNOWN} # over ${name} with ${what}`]) {
    const answers = ask(query)
    await expect.poll(() => answers, { interval: 1 }).toEqual(['{"data":{"__typename":"Query"}}'])
    expect(answered().length).toBeLessThan(MANY / 2)
  }
  await eventually(() => answered().length).toBe(MANY)
  for (const [answer] of answered()) expect(JSON.stringify(answer)).toContain(told)
})

// What comes in one go would be read in one go, however short each of them is.
test('Very many requests that are sent ahead keep nobody else waiting', async () => {
  const body = JSON.stringify({ query: KNOWN })
  const head = [
    ...['POST /graphql HTTP/1.1', 'host: localhost', 'content-type: application/json'],
    ...[`content-length: ${body.length}`, `x-forwarded-for: ${ATTACKER['x-forwarded-for']}`],
  ]
  const ahead = `${head.join('\r\n')}\r\n\r\n${body}`.repeat(SOME)
  const connections = Array.from({ length: 15 }, () => openRawConnection(app.url))
  await Promise.all(connections.map(({ socket }) => once(socket, 'connect')))
  const executed = () => metric(app.url, 'graphql_operations_total{field="__typename",code="OK"}')
  const before = await executed()
  for (const { socket } of connections) socket.write(ahead)

  // Also an answer to somebody else.
  expect((await executed()) - before).toBeLessThan((connections.length * SOME) / 2)
  const answered = () => connections.flatMap(({ heard }) => heard().match(/HTTP\/1\.1 200/g) ?? []).length
  await eventually(answered).toBe(connections.length * SOME)
  expect((await executed()) - before).toBe(connections.length * SOME)
})

test.each(WAYS)('%s of one address with such documents leave others a place', async (name, open) => {
  const ask = await openRequests(narrow.url, STRANGER)
  const senders = await Promise.all(Array.from({ length: MANY }, () => open(narrow.url)))
  // Each has another one when the first was refused.
  const flood = [0, MANY, 2 * MANY].flatMap((from) => senders.map((send, index) => send(wrongDocument(from + index))))

  // What is not known takes the place of the attacker's last.
  for (const query of [KNOWN, ...NAMES.slice(0, 10).map((one) => `${KNOWN} # ${one} beside ${name}`), KNOWN]) {
    const answers = ask(query)
    await expect.poll(() => answers, { interval: 1 }).toEqual(['{"data":{"__typename":"Query"}}'])
  }
  await eventually(() => flood.filter(([answer]) => answer !== undefined)).toHaveLength(3 * MANY)
  const told = flood.map(([answer]) => /QUERY_TOO_COMPLEX|SERVICE_UNAVAILABLE/.exec(JSON.stringify(answer))?.[0])
  expect(new Set(told)).toEqual(new Set(['QUERY_TOO_COMPLEX', 'SERVICE_UNAVAILABLE']))
})

test.each(WAYS)('%s that wait keep what they say beside their documents as text', async (name, open) => {
  const senders = await Promise.all(Array.from({ length: SOME }, () => open(app.url)))
  // 90 KB of text, and some megabytes when it is read.
  const variables = { list: new Array(30_000).fill({}) }
  const before = heldBytes()
  const flood = senders.map((send, index) => send(`query ($list: [Int]) ${wrongDocument(index)} # ${name}`, variables))
  const waiting = () => flood.filter(([answer]) => answer === undefined).length
  await expect.poll(waiting, EVERY_ROUND).toBeLessThan(SOME)
  const held = heldBytes() - before
  expect(waiting()).toBeGreaterThan(SOME / 2)
  expect(held / waiting()).toBeLessThan(700_000)
  await eventually(waiting).toBe(0)
})

test('Variables that no text can hold, because of their levels, are refused over a WebSocket as well', async () => {
  const socket = await openRawSocket(app.url)
  socket.send('{"type":"connection_init"}')
  expect(await socket.next()).toEqual({ type: 'connection_ack' })
  const variables = `{"list":${'['.repeat(45_000)}${']'.repeat(45_000)}}`
  socket.send(`{"id":"1","type":"subscribe","payload":{"query":"{ __typename } # levels","variables":${variables}}}`)
  expect(await socket.next()).toMatchObject({
    ...{ id: '1', type: 'error' },
    payload: [{ extensions: { code: 'BAD_USER_INPUT', issues: [{ code: 'too_large' }] } }],
  })
  socket.send({ id: '2', type: 'subscribe', payload: { query: KNOWN } })
  expect(await socket.next()).toMatchObject({ id: '2', type: 'next' })
})

// What docs/security-review.md says was tried over the network, where no other test has it.
import { gzipSync } from 'node:zlib'
import { afterEach, describe, expect, test } from 'vitest'
import { startApp } from '../support/app.js'
import { eventually } from '../support/eventually.js'
import { RegisterDocument } from '../support/generated/graphql.js'
import { SUBJECTS } from '../support/mailbox.js'
import { metric } from '../support/metrics.js'
import { openRawConnection, tell } from '../support/raw-connection.js'

const app = await startApp({ env: { PUBLIC_URL: 'http://localhost:4999' } })
const POST = 'POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n'
const HIDDEN = 'GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n'

afterEach(async () => {
  expect(await (await fetch(`${app.url}/health/live`)).json()).toEqual({ status: 'live' })
})

test.each([
  ['two kinds of length', `content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n${HIDDEN}`],
  ['two lengths', `content-length: 4\r\ncontent-length: 5\r\n\r\nabcde${HIDDEN}`],
  ['a length with a sign', `content-length: +5\r\n\r\nabcde${HIDDEN}`],
  ['a length below zero', `content-length: -1\r\n\r\n${HIDDEN}`],
  ['a space before the colon', `content-length : 5\r\n\r\nabcde${HIDDEN}`],
  ['an unknown coding', `transfer-encoding: xchunked\r\n\r\n0\r\n\r\n${HIDDEN}`],
  ['chunks within another coding', `transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n${HIDDEN}`],
  ['a folded line', `x-a: 1\r\n 2\r\n\r\n${HIDDEN}`],
  ['a zero byte', `x-request-id: aaaa\0aaaa\r\n\r\n${HIDDEN}`],
])('A request with %s gets one answer, 400, and hides no other request', async (_, rest) => {
  const answer = await tell(app.url, POST + rest)
  expect(answer.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 400'])
})

test.each([
  ...['/../../etc/passwd', '//graphql', '/graphql/', '/GRAPHQL', '/graphql;x', '/health%2flive', '/%2e%2e/health'],
  ...['/constructor', '/__proto__', '//evil.example/', '/health/yoga', 'http://evil.example/health/live'],
])('The path %s is no other one', async (path) => {
  expect(await tell(app.url, `GET ${path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`)).toMatch(
    /^HTTP\/1\.1 404 /,
  )
})

test.each(['[', 'x y', 'a:99999', '%', '', 'a/b?c#d', ']:1', 'a^b|c', '::1'])(
  'The host "%s" is as good as none',
  async (host) => {
    const answer = await tell(
      app.url,
      `GET /graphql?query=%7B__typename%7D HTTP/1.1\r\nhost: ${host}\r\naccept: application/json\r\nconnection: close\r\n\r\n`,
    )
    expect(answer).toMatch(/^HTTP\/1\.1 200 /)
    expect(answer).toMatch(/\{"data":\{"__typename":"Query"\}\}$/)
  },
)

test.each(['h2c', 'websocket, h2c', 'foo/2'])(
  'An offer to upgrade to %s is ignored, and the request answered',
  async (upgrade) => {
    const offer = `connection: Upgrade, HTTP2-Settings\r\nupgrade: ${upgrade}\r\nhttp2-settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n`
    const body = '{"query":"{ __typename }"}'
    const answer = await tell(app.url, `${POST}${offer}content-length: ${body.length}\r\n\r\n${body}`)
    expect(answer).toMatch(/^HTTP\/1\.1 200 /)
    expect(answer).toContain('{"data":{"__typename":"Query"}}')
    // What else comes with it is not read: it says so.
    expect(answer.toLowerCase()).toContain('connection: close')
    expect(await tell(app.url, `GET /health/live HTTP/1.1\r\nhost: x\r\n${offer}\r\n`)).toContain('{"status":"live"}')
  },
)

test('A client that leaves in the midst of its request is no failure of the server', async () => {
  const { socket } = openRawConnection(app.url)
  socket.write(`${POST}x-request-id: of-who-leaves\r\ncontent-length: 100\r\n\r\n{`, () => socket.destroy())
  await eventually(() => app.log.lines.filter((line) => line.includes('of-who-leaves'))).toHaveLength(1)
  expect(app.log.problems).toEqual([])
})

test('A request for a tunnel is refused, and what comes with it is not read', async () => {
  const answer = await tell(app.url, `CONNECT x:443 HTTP/1.1\r\nhost: x\r\n\r\n${HIDDEN}`)
  expect(answer.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 404'])
  expect(answer.toLowerCase()).toContain('connection: close')
})

test.each(['multipart/mixed', 'text/event-stream', 'application/json', 'image/png'])(
  'An answer in the form %s says once where it ends',
  async (accept) => {
    const body = '{"query":"{ me { id } }"}'
    const answer = await tell(
      app.url,
      `${POST}accept: ${accept}\r\nconnection: close\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    )
    const [head = ''] = answer.split('\r\n\r\n')
    expect(head.match(/^(content-length|transfer-encoding):/gim)).toHaveLength(1)
    expect(head.match(/^connection:/gim)).toHaveLength(1)
  },
)

test('Very many questions after its health at once are one for the database', async () => {
  const queries = () => metric(app.url, 'database_queries_total')
  const connections = Array.from({ length: 31 }, () => openRawConnection(app.url))
  const ask = async (path: string, told: string) => {
    for (const { socket } of connections) socket.write(`GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`)
    for (const { heard } of connections) await eventually(heard).toContain(told)
  }
  // The server takes one new connection after the other.
  await ask('/health/live', 'HTTP/1.1 200')
  const before = await queries()
  await ask('/health', '"status":"healthy"')
  // There are a few of the server's own.
  expect((await queries()) - before).toBeLessThan(20)
})

describe('A body', () => {
  const send = async (body: string | Uint8Array<ArrayBuffer>, headers: Record<string, string> = {}) => {
    const init = { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body }
    const response = await fetch(`${app.url}/graphql`, init)
    return { status: response.status, text: await response.text() }
  }
  const logIn = 'mutation ($i: LoginInput!) { login(input: $i) { __typename } }'

  test('that is compressed is not unpacked', async () => {
    const bomb = new Uint8Array(gzipSync(Buffer.alloc(20_000_000, ' ')))
    expect((await send(bomb, { 'content-encoding': 'gzip' })).status).toBe(400)
  })

  test.each([
    ['objects', '{"a":', '}', 16_000],
    ['lists', '[', ']', 45_000],
  ])(
    'with variables of many %s within each other is refused, and shows little of them',
    async (_, open, close, depth) => {
      const { status, text } = await send(
        `{"query":"${logIn}","variables":{"i":${open.repeat(depth)}1${close.repeat(depth)}}}`,
      )
      expect([200, 400]).toContain(status)
      expect(text).toContain('BAD_USER_INPUT')
      expect(text.length).toBeLessThan(5000)
    },
  )

  test('with the names of prototypes changes none', async () => {
    const poison = '{"__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}}'
    const { text } = await send(`${poison},"query":"${logIn}","variables":${poison},"i":${poison}}}}`)
    expect(text).toContain('BAD_USER_INPUT')
    for (const name of ['__proto__', 'constructor', 'toString']) {
      expect((await send(JSON.stringify({ query: '{ __typename }', operationName: name }))).status).toBe(400)
    }
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined()
  })
})

describe('The links and words of a mail', () => {
  test('come from the settings, whatever host a request names', async () => {
    const headers = { 'x-forwarded-host': 'evil.example', 'x-forwarded-proto': 'https', forwarded: 'host=evil.example' }
    const input = app.newAccount()
    await app.anonymous.with(headers).call(RegisterDocument, { input })
    const { text, html } = await app.mail(input.email, SUBJECTS.verification)
    expect(text).toContain('http://localhost:4999/verify-email?token=')
    expect(text + html).not.toContain('evil.example')
  })

  test('have no markup or link of the name that somebody gave', async () => {
    const input = app.newAccount({
      firstName: '<img src=x onerror=alert(1)>',
      lastName: '"><a href=https://evil.example>here</a>',
    })
    await app.anonymous.call(RegisterDocument, { input })
    const { text, html } = await app.mail(input.email, SUBJECTS.verification)
    expect(html).not.toMatch(/<img src=x|<a href=https:\/\/evil/)
    expect(text + html).not.toContain('https://evil.example')
  })
})

test("Cookies that somebody else has planted become nobody's session", async () => {
  const ada = await app.newUser()
  const planted = ['refresh', 'csrf', 'device'].map((name) => `portcullis_${name}=planted`).join('; ')
  const input = { identifier: ada.email, password: ada.password }
  const query = 'mutation ($input: LoginInput!) { login(input: $input) { __typename } }'
  const answer = await app.anonymous.post(JSON.stringify({ query, variables: { input } }), { cookie: planted })
  const given = answer.headers.getSetCookie().map((cookie) => cookie.split(';')[0] ?? '')
  expect(given.some((cookie) => /^portcullis_refresh=[\w.-]{40,}$/.test(cookie))).toBe(true)
  expect(given.join()).not.toContain('planted')
})

describe('bytes that are no UTF-8', () => {
  test('are refused in a body: passwords that differ in them would be the same one', async () => {
    const body = Buffer.from('{"query":"{ csrfToken }","variables":{"password":"p\xe4ss"}}', 'latin1')
    const response = await fetch(`${app.url}/graphql`, {
      ...{ method: 'POST', headers: { 'content-type': 'application/json' }, body },
    })
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({ errors: [{ message: 'The body is not JSON.' }] })
  })

  test('are refused in a form', async () => {
    const headers = { 'content-type': 'application/x-www-form-urlencoded' }
    const response = await fetch(`${app.url}/reset-password`, { method: 'POST', headers, body: 'newPassword=p%E4ss' })
    expect(response.status).toBe(400)
    expect(await response.text()).toContain('not in UTF-8')
  })
})

test('A form that is too long is refused unread', async () => {
  const body = new URLSearchParams({ code: '0'.repeat(20_000) })
  expect((await fetch(`${app.url}/verify-email`, { method: 'POST', body })).status).toBe(413)
})

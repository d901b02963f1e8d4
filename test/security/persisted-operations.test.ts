import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { ConfigError, loadConfig } from '../../src/config.js'
import { startApp } from '../support/app.js'
import { eventually } from '../support/eventually.js'
import { metric } from '../support/metrics.js'
import { openRawConnection } from '../support/raw-connection.js'
import { openSocket, openStream } from '../support/streams.js'

const folder = mkdtempSync(join(tmpdir(), 'portcullis-operations-'))
afterAll(() => rmSync(folder, { recursive: true }))

const ME = '{ me { email } }'
const ALERTS = 'subscription { securityAlerts(minRiskLevel: LOW) { node { type } } }'
const LOGIN = 'mutation ($input: LoginInput!) { login(input: $input) { __typename } }'
const OTHER = '{ csrfToken }'
const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')

function fileOf(content: string): string {
  const path = join(folder, `${sha256(content)}.json`)
  writeFileSync(path, content)
  return path
}
const known = JSON.stringify(Object.fromEntries([ME, ALERTS, LOGIN].map((document) => [sha256(document), document])))
const ISSUER = { JWT_ISSUER: 'https://auth.example', JWT_AUDIENCE: 'https://auth.example' }
const open = await startApp({ env: ISSUER })
const app = await startApp({ env: { ...ISSUER, PERSISTED_OPERATIONS: fileOf(known) }, beside: open })
const ada = await open.newUser()
const authorization = `Bearer ${ada.accessToken}`

const persisted = (document: string) => ({
  extensions: { persistedQuery: { version: 1, sha256Hash: sha256(document) } },
})

/** The answers to one request, sent in every way that a query can take. */
async function answersTo(request: object & { query?: string; extensions?: object }) {
  const { query, extensions } = request
  const post = (accept: string) =>
    app.anonymous
      .post(JSON.stringify(request), { authorization, accept })
      .then(({ data, errors }) => ({ data, errors }))
  const asked = new URLSearchParams({
    ...(query && { query }),
    ...(extensions && { extensions: JSON.stringify(extensions) }),
  })
  const got = await fetch(`${app.url}/graphql?${asked}`, { headers: { authorization, accept: 'application/json' } })
  const socket = await openSocket(app.url, { token: ada.accessToken })
  return [
    await post('application/json'),
    await post('application/json;q=0.9'),
    (await got.json()) as object,
    await socket.follow(query ?? '', {}, extensions).next(),
  ]
}

test('A known operation is executed by its hash, in every way', async () => {
  for (const answer of await answersTo(persisted(ME)))
    expect(answer).toMatchObject({ data: { me: { email: ada.email } } })
  const variables = { input: { identifier: ada.email, password: 'x' } }
  const { data } = await app.anonymous.post(JSON.stringify({ ...persisted(LOGIN), variables }))
  expect(data).toEqual({ login: { __typename: 'InvalidCredentialsError' } })
})

test('Known operations wait for no turn: as many are executed at once as there are places', async () => {
  const env = { ...ISSUER, PERSISTED_OPERATIONS: fileOf(known), MAX_IN_FLIGHT: '30' }
  const { url } = await startApp({ env, beside: open })
  const body = JSON.stringify(persisted(ME))
  const head = `POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${body.length}`
  const { socket, heard } = openRawConnection(url)
  socket.write(`${head}\r\n\r\n${body}`.repeat(30))
  const statuses = () => heard().match(/HTTP\/1.1 \d+/g)
  await eventually(statuses).toHaveLength(30)
  expect(new Set(statuses())).toEqual(new Set(['HTTP/1.1 200']))
})

test.each([
  ['a document', { query: OTHER }],
  ['a known document', { query: ME }],
  ['a document with the hash of a known one', { query: OTHER, ...persisted(ME) }],
  ['an unknown hash', persisted(OTHER)],
  ['a hash that every object has', { extensions: { persistedQuery: { version: 1, sha256Hash: '__proto__' } } }],
  ['nothing', {}],
])('Refused in every way is %s', async (_, request) => {
  for (const answer of await answersTo(request)) {
    expect(answer).toMatchObject({ errors: [{ extensions: { code: 'BAD_USER_INPUT' } }] })
    expect(answer).not.toMatchObject({ data: expect.anything() })
  }
})

test('A mutation is refused by GET, known or not', async () => {
  const asked = new URLSearchParams({ extensions: JSON.stringify(persisted(LOGIN).extensions) })
  expect((await fetch(`${app.url}/graphql?${asked}`)).status).toBe(405)
})

test('Subscriptions come by their hash only', async () => {
  const socket = await openSocket(app.url, { token: ada.accessToken })
  const known = socket.follow('', {}, persisted(ALERTS).extensions)
  await eventually(() => metric(app.url, 'event_subscribers')).toBe(1)
  expect((await socket.follow(ALERTS).next()).errors).toHaveLength(1)
  const stream = await openStream(app.url, { token: ada.accessToken }, ALERTS)
  expect((await stream.next()).errors).toMatchObject([{ extensions: { code: 'BAD_USER_INPUT' } }])
  await ada.logIn()
  expect(await known.next()).toMatchObject({ data: { securityAlerts: { node: { type: 'LOGIN_SUCCEEDED' } } } })
})

test.each([
  ['does not exist', join(folder, 'nowhere.json'), /ENOENT/],
  ['is no JSON', fileOf('{'), /JSON/],
  ['is a list', fileOf(JSON.stringify([ME])), /record/],
  ['has names instead of hashes', fileOf(JSON.stringify({ me: ME })), /./],
  ['has no text under a hash', fileOf(JSON.stringify({ [sha256(ME)]: 1 })), /string/],
  ['has another document under a hash', fileOf(JSON.stringify({ [sha256(ME)]: OTHER })), /is not the SHA-256 of/],
])('No server starts with a file that %s', (_, path, reason) => {
  const load = () => loadConfig({ PERSISTED_OPERATIONS: path })
  expect(load).toThrow(ConfigError)
  expect(load).toThrow(/PERSISTED_OPERATIONS: /)
  expect(load).toThrow(reason)
})

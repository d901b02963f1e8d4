import { once } from 'node:events'
import { closeSync, existsSync, openSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { expect, onTestFinished, test, vi } from 'vitest'
import { PASSWORD } from '../support/app.js'
import { createClient, expectType } from '../support/client.js'
import { openDatabase } from '../support/database.js'
import { lockDatabase } from '../support/database-lock.js'
import { eventually } from '../support/eventually.js'
import { LoginDocument, RegisterDocument } from '../support/generated/graphql.js'
import { createInstallation } from '../support/installation.js'
import { metric } from '../support/metrics.js'
import { freePort } from '../support/redis-server.js'
import { makeDataDir, postmasterOf, processEnv, START_MS, startProcess } from '../support/server-process.js'
import { openSocket, openStream } from '../support/streams.js'

vi.setConfig({ testTimeout: 2 * START_MS })

/** Hashes that take long enough to be under way when the signal comes. */
const SLOW_HASHES = { PASSWORD_HASH_MEMORY_KIB: '65536', PASSWORD_HASH_ITERATIONS: '8' }
const ALERTS = 'subscription { securityAlerts { cursor } }'

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

test('On SIGTERM the server answers what is under way, says goodbye to everybody else, and ends its database', async () => {
  const dataDir = makeDataDir()
  const server = startProcess(processEnv({ ...SLOW_HASHES, DATA_DIR: dataDir, REQUIRE_VERIFIED_EMAIL: 'false' }))
  const url = await server.ready
  const client = createClient((init) => fetch(`${url}/graphql`, init))
  const account = (email: string) => ({
    input: { email, password: PASSWORD, termsAccepted: true, privacyPolicyAccepted: true },
  })
  const database = postmasterOf(dataDir)
  expect(isAlive(database)).toBe(true)
  expectType(await client.call(RegisterDocument, account('ada@example.com')), 'RegisterSuccess')
  const credentials = { identifier: 'ada@example.com', password: PASSWORD, tokenDelivery: 'BODY' } as const
  const result = await client.call(LoginDocument, { input: credentials })
  const { accessToken: token } = expectType(result, 'LoginSuccess').authentication

  const socket = await openSocket(url, { token })
  const subscription = socket.follow(ALERTS)
  const stream = await openStream(url, { token }, ALERTS)
  await eventually(() => metric(url, 'event_subscribers')).toBe(2)

  const underWay = Promise.all(
    Array.from({ length: 8 }, (_, index) => client.call(RegisterDocument, account(`person${index}@example.com`))),
  )
  await eventually(() => metric(url, 'hash_queue_depth')).toBeGreaterThan(0)
  server.kill('SIGTERM')

  expect(await socket.closing).toMatchObject({ code: 1001 })
  await Promise.all([stream.ended, subscription.ended])
  for (const each of await underWay) expectType(each, 'RegisterSuccess')
  expect(await server.exited).toBe(0)
  await expect(fetch(`${url}/health/live`)).rejects.toThrow()
  expect(existsSync(join(dataDir, 'postgres', 'postmaster.pid'))).toBe(false)
  expect(isAlive(database)).toBe(false)
  expect(server.output()).not.toMatch(/"level":"(error|fatal)"/)
})

test('What was begun for a client that is gone is waited for', async () => {
  const installation = await createInstallation()
  onTestFinished(installation.remove)
  const server = startProcess(processEnv({ DATABASE_URL: installation.databaseUrl, REQUIRE_VERIFIED_EMAIL: 'false' }))
  const url = await server.ready
  const client = createClient((init) => fetch(`${url}/graphql`, init))
  const account = { email: 'ada@example.com', password: PASSWORD, termsAccepted: true, privacyPolicyAccepted: true }
  expectType(await client.call(RegisterDocument, { input: account }), 'RegisterSuccess')
  const input = { identifier: account.email, password: PASSWORD, tokenDelivery: 'BODY' } as const
  const { authentication } = expectType(await client.call(LoginDocument, { input }), 'LoginSuccess')

  const { untilWaiting, release } = await lockDatabase(installation, 'LOCK TABLE sessions')
  const gone = new AbortController()
  const asked = fetch(`${url}/graphql`, {
    ...{
      method: 'POST',
      signal: gone.signal,
      body: JSON.stringify({ query: '{ me { id } sessions { edges { cursor } } }' }),
    },
    headers: { 'content-type': 'application/json', authorization: `Bearer ${authentication.accessToken}` },
  })
  await untilWaiting(1)
  gone.abort()
  await expect(asked).rejects.toThrow()
  server.kill('SIGTERM')
  const { query } = await openDatabase(installation)
  await eventually(() => fetch(url).catch(() => null)).toBe(null)
  // Long enough for a server that does not wait to end its pool.
  for (let time = 0; time < 200; time += 1) await query('SELECT')
  await release()
  expect(await server.exited).toBe(0)
  expect(server.output()).not.toMatch(/"level":"(error|fatal)"/)
})

test('A connection that has asked for nothing, as browsers open them ahead, does not hold the server up', async () => {
  const server = startProcess(processEnv({ DATA_DIR: makeDataDir() }))
  const { hostname, port } = new URL(await server.ready)
  const open = async () => {
    const socket = connect(Number(port), hostname)
    onTestFinished(() => void socket.destroy())
    await once(socket, 'connect')
    return socket
  }
  const asking = await open()
  const silent = await open()
  asking.write('GET /health/live HTTP/1.1\r\n')
  await fetch(`http://${hostname}:${port}/health/live`)
  server.kill('SIGTERM')
  await once(silent, 'close')
  // Not because everything was cut off: what has begun to ask is waited for.
  expect(asking.closed).toBe(false)
  asking.destroy()
  expect(await server.exited).toBe(0)
})

test('An answer that its client still reads is sent to its end', async () => {
  const limits = { MAX_QUERY_TOKENS: '100000', MAX_QUERY_ALIASES: '10000', MAX_QUERY_ROOT_FIELDS: '10000' }
  const server = startProcess(processEnv({ DATA_DIR: makeDataDir(), ...limits, MAX_UNREAD_BYTES: '1000000000' }))
  const { hostname, port, origin } = new URL(await server.ready)
  const types = '__schema { types { name description fields { name description args { name description } } } }'
  const query = `{ ${Array.from({ length: 700 }, (_, index) => `a${index}: ${types}`).join(' ')} }`
  const socket = connect(Number(port), hostname)
  onTestFinished(() => void socket.destroy())
  const body = JSON.stringify({ query })
  const head = 'POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n'
  socket.write(`${head}content-length: ${body.length}\r\n\r\n${body}`)
  await once(socket, 'readable')
  server.kill('SIGTERM')
  await eventually(() =>
    fetch(`${origin}/health/live`).then(
      () => false,
      () => true,
    ),
  ).toBe(true)
  const chunks: Buffer[] = []
  for await (const chunk of socket) chunks.push(chunk as Buffer)
  const answer = Buffer.concat(chunks)
  const start = answer.indexOf('\r\n\r\n') + 4
  const [, length] = /content-length: (\d+)/i.exec(answer.toString('latin1', 0, start)) ?? []
  expect(Number(length)).toBeGreaterThan(10_000_000)
  expect(answer.length - start).toBe(Number(length))
  expect(await server.exited).toBe(0)
})

test('A WebSocket whose client does not answer is not waited for as long as WebSockets usually are', async () => {
  const server = startProcess(processEnv({ DATA_DIR: makeDataDir() }))
  const { hostname, port } = new URL(await server.ready)
  const socket = connect(Number(port), hostname)
  onTestFinished(() => void socket.destroy())
  const fields = [
    ...['GET /graphql HTTP/1.1', 'host: localhost', 'connection: upgrade', 'upgrade: websocket'],
    ...['sec-websocket-version: 13', 'sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA=='],
    'sec-websocket-protocol: graphql-transport-ws',
  ]
  socket.write(`${fields.join('\r\n')}\r\n\r\n`)
  await once(socket, 'data')
  const killedAt = performance.now()
  server.kill('SIGTERM')
  expect(await server.exited).toBe(0)
  expect(performance.now() - killedAt).toBeLessThan(20_000)
})

test('What was answered during the shutdown is there after the next start', async () => {
  const dataDir = makeDataDir()
  const env = processEnv({ DATA_DIR: dataDir, REQUIRE_VERIFIED_EMAIL: 'false' })
  const first = startProcess(env)
  const url = await first.ready
  const at = (base: string) => createClient((init) => fetch(`${base}/graphql`, init))
  const registration = at(url).call(RegisterDocument, {
    input: { email: 'ada@example.com', password: PASSWORD, termsAccepted: true, privacyPolicyAccepted: true },
  })
  expectType(await registration, 'RegisterSuccess')
  first.kill('SIGINT')
  expect(await first.exited).toBe(0)
  const second = startProcess(env)
  const result = await at(await second.ready).call(LoginDocument, {
    input: { identifier: 'ada@example.com', password: PASSWORD, tokenDelivery: 'BODY' },
  })
  expectType(result, 'LoginSuccess')
  second.kill('SIGTERM')
  expect(await second.exited).toBe(0)
})

test('For SHUTDOWN_DELAY the server still answers, and says that it goes: to balancers, and on each connection; Ctrl-C ends it', async () => {
  const server = startProcess(processEnv({ DATA_DIR: makeDataDir(), SHUTDOWN_DELAY: '1h' }))
  const url = await server.ready
  server.kill('SIGTERM')
  const ready = () => fetch(`${url}/health/ready`)
  await eventually(async () => (await ready()).status).toBe(503)
  const answer = await fetch(`${url}/health/live`)
  expect(answer.status).toBe(200)
  expect(answer.headers.get('connection')).toBe('close')
  server.kill('SIGINT')
  expect(await server.exited).toBe(0)
})

test.runIf(process.platform === 'linux')('A server whose log finds no space serves, and ends on SIGTERM', async () => {
  const { databaseUrl, remove } = await createInstallation()
  onTestFinished(remove)
  const port = await freePort()
  const full = openSync('/dev/full', 'w')
  const server = startProcess(processEnv({ DATABASE_URL: databaseUrl, PORT: `${port}` }), full)
  closeSync(full)
  const health = async () => {
    const response = await fetch(`http://127.0.0.1:${port}/health`).catch(() => null)
    return response && ((await response.json()) as { jobs: string }).jobs
  }
  await eventually(health, START_MS).toBe('up')
  server.kill('SIGTERM')
  expect(await server.exited).toBe(0)
})

test('A server that ends while much of the audit log waits for a signature raises no alarm', async () => {
  const { databaseUrl, remove } = await createInstallation()
  onTestFinished(remove)
  const server = startProcess(processEnv({ DATABASE_URL: databaseUrl, AUDIT_CHECKPOINT_EVENTS: '10' }))
  await server.ready
  const { query } = await openDatabase({ databaseUrl })
  await query(`
    INSERT INTO audit_inbox (type, occurred_at, success, risk_level)
    SELECT 'LOGIN_FAILED', now(), false, 'LOW' FROM generate_series(1, 10000)`)
  await eventually(async () => (await query('SELECT FROM audit_checkpoints')).rowCount).toBeGreaterThan(0)
  server.kill('SIGINT')
  expect(await server.exited).toBe(0)
  expect(server.output()).not.toContain('could not be signed')
})

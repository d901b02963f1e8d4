import { once } from 'node:events'
import { connect } from 'node:net'
import { describe, expect, test } from 'vitest'
import { startApp, type TestApp } from '../support/app.js'
import { lockDatabase } from '../support/database-lock.js'
import { eventually } from '../support/eventually.js'
import { LoginDocument } from '../support/generated/graphql.js'
import { metric } from '../support/metrics.js'
import { type Follower, openSocket, openStream } from '../support/streams.js'
import type { User } from '../support/user.js'

const ALERTS = 'subscription { securityAlerts { cursor } }'
const ME = '{ me { id } }'

describe('A subscription takes no place', () => {
  const open = async ({ url }: { url: string }, { accessToken: token }: User) =>
    (await openStream(url, { token }, ALERTS)).response.status

  test('when its client does not accept what it is', async () => {
    const app = await startApp({ env: { MAX_SUBSCRIPTIONS_PER_USER: '1', MAX_SUBSCRIPTIONS_PER_ADDRESS: '1' } })
    const ada = await app.newUser()
    for (const accept of ['application/json', 'application/graphql-response+json', 'multipart/mixed']) {
      const response = await fetch(`${app.url}/graphql`, {
        ...{ method: 'POST', body: JSON.stringify({ query: ALERTS }) },
        headers: { 'content-type': 'application/json', accept, authorization: `Bearer ${ada.accessToken}` },
      })
      expect({ accept, status: response.status }).toEqual({ accept, status: 406 })
      expect(await response.json()).toMatchObject({
        errors: [{ extensions: { issues: [{ code: 'not_acceptable' }] } }],
      })
    }
    expect(await open(app, ada)).toBe(200)
  })

  test('when its client has gone before it began', async () => {
    const app = await startApp({ env: { MAX_SUBSCRIPTIONS_PER_USER: '2' } })
    const ada = await app.newUser()
    const { hostname, port } = new URL(app.url)
    const lock = await lockDatabase(app.installation, 'LOCK TABLE audit_checkpoints IN ACCESS EXCLUSIVE MODE')
    const stream = connect(Number(port), hostname)
    const fields = [`GET /graphql?${new URLSearchParams({ query: ALERTS })} HTTP/1.1`, 'host: localhost']
    fields.push('accept: text/event-stream', `authorization: Bearer ${ada.accessToken}`)
    stream.write(`${fields.join('\r\n')}\r\n\r\n`)
    const socket = await openSocket(app.url, { token: ada.accessToken })
    socket.follow(ALERTS)
    // Both are looking for the end of the log, as does the server itself.
    await lock.untilWaiting(3)
    stream.destroy()
    socket.close()
    await Promise.all([once(stream, 'close'), socket.closing])
    // The server has seen them go: it would not answer any that came later before.
    expect((await app.anonymous.post(JSON.stringify({ query: ME }))).status).toBe(200)
    await lock.release()
    for (const _ of [stream, socket]) await eventually(() => open(app, ada)).toBe(200)
  })
})

const COUNT = 1000
const MAX = 50

/** Asks for very many subscriptions. Gives the codes of those that were refused. */
type Flood = (app: TestApp, user: User) => Promise<unknown[]>

/** As many on each socket, of which a few ask at once; afterwards their client is still answered. */
const overSockets =
  (sockets: number): Flood =>
  async ({ url }, { accessToken: token, id }) => {
    const followers: Follower[] = []
    const refused = () => followers.filter(({ received }) => received.length > 0)
    while (followers.length < COUNT) {
      const opened = await Promise.all(Array.from({ length: Math.min(sockets, 5) }, () => openSocket(url, { token })))
      for (const { follow } of opened) {
        followers.push(...Array.from({ length: COUNT / sockets }, () => follow(ALERTS)))
      }
      await eventually(() => refused().length, 60_000).toBe(followers.length - MAX)
      for (const { ask } of opened) expect(await ask(ME)).toEqual({ data: { me: { id } } })
    }
    return refused().flatMap(({ received }) => received.map(({ errors }) => errors?.[0]?.extensions.code))
  }

const overStreams: Flood = async ({ url }, { accessToken: token }) => {
  const codes: unknown[] = []
  for (let asked = 0; asked < COUNT; asked += MAX) {
    const streams = await Promise.all(Array.from({ length: MAX }, () => openStream(url, { token }, ALERTS)))
    const refused = streams.filter(({ response }) => response.status !== 200)
    for (const { next } of refused) codes.push((await next()).errors?.[0]?.extensions.code)
  }
  return codes
}

test.each<[string, Flood]>([
  ['one WebSocket', overSockets(1)],
  ['a hundred WebSockets', overSockets(100)],
  ['server-sent events', overStreams],
])(
  'Who asks for a thousand subscriptions over %s gets fifty and is told so, and nobody else is disturbed',
  async (_, flood) => {
    const app = await startApp({ env: { LOCKOUT_THRESHOLD: '1000' } })
    const [eve, bob] = [await app.newUser(), await app.newUser()]
    const ofBob = await openStream(app.url, { token: bob.accessToken }, ALERTS)
    let isOver = false
    const flooding = flood(app, eve).finally(() => {
      isOver = true
    })
    /** Something happens to Bob's account, and he sees it, all the while. */
    const living = async () => {
      do {
        const input = { identifier: bob.email, password: 'not the password' }
        await app.anonymous.call(LoginDocument, { input })
        await ofBob.next()
      } while (!isOver)
    }
    const [codes] = await Promise.all([flooding, living()])
    expect(codes).toEqual(Array(COUNT - MAX).fill('RATE_LIMITED'))
    await eventually(() => metric(app.url, 'event_subscribers')).toBe(MAX + 1)
    expect((await bob.post(JSON.stringify({ query: ME }))).data).toEqual({ me: { id: bob.id } })
  },
)

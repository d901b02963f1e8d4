import { describe, expect, test } from 'vitest'
import { startApp } from '../support/app.js'
import { expectType } from '../support/client.js'
import { lockDatabase } from '../support/database-lock.js'
import { eventually } from '../support/eventually.js'
import { LogoutDocument, RefreshDocument } from '../support/generated/graphql.js'
import { metric } from '../support/metrics.js'
import { openRawSocket, openSocket, openStream } from '../support/streams.js'

const app = await startApp({ env: { REDIS_URL: '' } })
const ALERTS = 'subscription { securityAlerts(minRiskLevel: LOW) { cursor node { type } } }'

const openings: [string, (token: string) => Promise<unknown>][] = [
  [
    'a WebSocket',
    async (token) => {
      const { send, closing } = await openRawSocket(app.url)
      send({ type: 'connection_init', payload: { authorization: `Bearer ${token}` } })
      return closing.then(({ code }) => expect(code).toBe(4403))
    },
  ],
  ['an event stream', async (token) => openStream(app.url, { token }, ALERTS).then(({ ended }) => ended)],
]

describe('a session that ends in the instant in which a connection is opened for it', () => {
  test.each(openings)('has its connection closed: %s', async (_, open) => {
    const ada = await app.newUser()
    const browser = await (await ada.openBrowser()).withCsrfToken()
    const { authentication } = expectType(await browser.call(RefreshDocument), 'RefreshSuccess')
    const log = (await openSocket(app.url, { token: ada.accessToken })).follow(ALERTS)
    await eventually(() => metric(app.url, 'event_subscribers')).toBe(1)

    // The server has looked at the session, and waits for the account.
    const lock = await lockDatabase(app.installation, 'LOCK TABLE users IN ACCESS EXCLUSIVE MODE')
    let isClosed = false
    void open(authentication.accessToken).then(() => {
      isClosed = true
    })
    await lock.untilWaiting(1)
    await browser.call(LogoutDocument)
    // Whoever watches the session has been told by now.
    await eventually(() => log.received.some(({ data }) => data.securityAlerts.node.type === 'LOGGED_OUT')).toBe(true)
    await lock.release()
    await eventually(() => isClosed).toBe(true)
    log.stop()
    await eventually(() => metric(app.url, 'event_subscribers')).toBe(0)
  })
})

test('A role that is taken away in the instant in which a stream is opened with it ends that stream', async () => {
  const [eve, bob] = [await app.newUser(), await app.newUser()]
  for (const { email } of [eve, bob]) await app.operator.grant(email, 'admin')
  const events = 'subscription { securityEvents { node { metadata } } }'
  const log = await openStream(app.url, { token: bob.accessToken }, events)

  // The server has looked at the account, and waits for the session.
  const lock = await lockDatabase(app.installation, 'LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE')
  const opened = openStream(app.url, { token: eve.accessToken }, events)
  await lock.untilWaiting(1)
  await app.operator.grant(eve.email, 'user')
  await eventually(() => log.received.some(({ data }) => data.securityEvents.node.metadata.granted === 'user')).toBe(
    true,
  )
  await lock.release()
  await (await opened).ended
  log.stop()
})

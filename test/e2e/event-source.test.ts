import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { startTcpProxy } from '../support/tcp-proxy.js'
import { closeSites, LOGIN, type Site, send, serveSite, settingsFor } from './sites.js'
import {
  ask,
  openBrowser,
  PASSWORD,
  registerVerified,
  type Server,
  signIn,
  startServer,
  stopEverything,
} from './support.js'

const EMAIL = 'source@example.com'
const LIVE = { timeout: 30_000, interval: 100 }
const ALERTS = 'subscription { securityAlerts(minRiskLevel: LOW) { node { id } } }'
const UPDATE = 'mutation ($name: String) { updateProfile(input: { firstName: $name }) { __typename } }'
const LOG = '{ auditLog(first: 100, filter: { types: [PROFILE_UPDATED] }) { edges { node { id } } } }'

let browser: Browser
let frontend: Site
let server: Server

beforeAll(async () => {
  ;[browser, frontend] = await Promise.all([openBrowser(), serveSite()])
  server = await startServer(settingsFor(frontend, { ACCESS_TOKEN_COOKIE: 'true' }))
  await registerVerified(server, EMAIL)
})

afterAll(async () => {
  await stopEverything()
  closeSites()
})

it('a page that leaves an EventSource to itself gets every event once and in order, however often it is cut off', async () => {
  const { authentication } = await signIn(server, EMAIL)
  const token = authentication?.accessToken ?? ''
  const context = await browser.newContext()
  const page = await context.newPage()
  await page.goto(frontend.origin)
  await send(page, server, LOGIN, { input: { identifier: EMAIL, password: PASSWORD, tokenDelivery: 'COOKIE' } })

  const proxy = await startTcpProxy({ host: '127.0.0.1', port: Number(new URL(server.url).port) })
  const source = await page.evaluateHandle(
    (url) => {
      const seen = { ids: [] as string[], connections: 0 }
      const events = new EventSource(url, { withCredentials: true })
      events.addEventListener('open', () => {
        seen.connections += 1
      })
      events.addEventListener('next', ({ data }) => void seen.ids.push(JSON.parse(data).data.securityAlerts.node.id))
      return seen
    },
    `http://localhost:${proxy.port}/graphql?${new URLSearchParams({ query: ALERTS })}`,
  )
  const connections = async () => (await source.jsonValue()).connections
  const received = async () => (await source.jsonValue()).ids

  let updates = 0
  async function update(count: number): Promise<void> {
    for (let turn = 0; turn < count; turn += 1) {
      updates += 1
      await ask(server, UPDATE, { name: `Ada ${updates}` }, token)
    }
  }
  const untilAllAreThere = () => expect.poll(async () => (await received()).length, LIVE).toBe(updates)

  await expect.poll(connections, LIVE).toBe(1)
  // Cut off before the first event, but not before it was said where the stream begins, while nobody can connect again.
  await expect.poll(proxy.heard, LIVE).toContain('\r\nid: ')
  proxy.cut()
  await update(3)
  proxy.restore()
  await untilAllAreThere()
  // In the middle of events.
  const updating = update(10)
  await expect.poll(async () => (await received()).length, { ...LIVE, interval: 1 }).toBeGreaterThan(3)
  proxy.cut()
  proxy.restore()
  await updating
  await untilAllAreThere()
  // And when all was quiet.
  proxy.cut()
  await update(3)
  proxy.restore()
  await update(3)
  await untilAllAreThere()

  const { auditLog } = await ask(server, LOG, {}, token)
  const edges = auditLog?.edges as { node: { id: string } }[]
  expect(await received()).toEqual(edges.map(({ node }) => node.id).reverse())
  expect(await connections()).toBeGreaterThanOrEqual(4)
  await context.close()
})

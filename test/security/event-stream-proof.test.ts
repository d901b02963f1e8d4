import { expect, test, vi } from 'vitest'
import { startApp } from '../support/app.js'
import { openDatabase } from '../support/database.js'
import { eventually } from '../support/eventually.js'
import { startFollower, type Target, TRANSPORTS } from '../support/followers.js'
import { AuditLogDocument } from '../support/generated/graphql.js'
import { hasRedis, startRedis } from '../support/redis-server.js'
import { processEnv, START_MS, startProcess } from '../support/server-process.js'

vi.setConfig({ testTimeout: 300_000 })

/** On real servers the whole proof; a fifth of it where a PostgreSQL from npm shares the cores. */
const EVENTS = process.env.TEST_DATABASE_URL ? 5_000 : 1_000
const FOLLOWERS = 20
const WRITERS = 12
/** An event that nobody is alerted of. */
const UPDATE = 'mutation ($name: String!) { updateProfile(input: { firstName: $name }) { __typename } }'
/** An event that the owner of the account is alerted of. */
const FAIL = `mutation ($name: String!) {
  login(input: { identifier: $name, password: "not the password", tokenDelivery: BODY }) { __typename }
}`

const redis = hasRedis ? await startRedis() : null

test(
  'nobody misses an event, or gets one twice, whatever is cut, killed and started',
  async () => {
    const env = {
      JWT_ISSUER: 'https://auth.example',
      JWT_AUDIENCE: 'https://auth.example',
      REDIS_URL: redis?.url ?? '',
      LOCKOUT_THRESHOLD: '1000',
    }
    const app = await startApp({ env })
    const auditor = await app.auditor()
    const users = [await app.newUser(), await app.newUser(), await app.newUser()]
    const { edges } = await auditor.call(AuditLogDocument, { scope: 'EVERYONE', first: 1 })
    const start = edges[0]?.cursor ?? expect.fail('There are no events')

    const settings = processEnv({ ...env, DATABASE_URL: app.installation.databaseUrl })
    function startServer() {
      let server = startProcess(settings)
      return {
        url: () => server.ready,
        replace(): Promise<string> {
          server.kill('SIGKILL')
          server = startProcess(settings)
          return server.ready
        },
      }
    }
    const servers = [startServer(), startServer()] as const
    await Promise.all(servers.map(({ url }) => url()))

    // Cuts fall where they may, but every run has enough of them.
    const patience = (events: number) => () => 1 + Math.floor((Math.random() * events) / 12)
    const followers = Array.from({ length: FOLLOWERS }, (_, index) => {
      const { url } = servers[index % 2] as (typeof servers)[0]
      const read = TRANSPORTS[(index >> 1) % 2] as (typeof TRANSPORTS)[0]
      // Each of three users follows four alerts; the auditor, eight times, everything.
      const user = users[(index >> 2) - 2]
      const target: Target = user
        ? { url, token: user.accessToken, stream: 'alerts' }
        : { url, token: auditor.accessToken, stream: 'events' }
      const share = user ? EVENTS / 3 / users.length : EVENTS
      return { owner: user?.id, ...startFollower(read, target, start, patience(share)) }
    })

    let written = 0
    const write = async (index: number) => {
      const { accessToken, email } = users[index % users.length] as (typeof users)[0]
      const headers = { 'content-type': 'application/json', authorization: `Bearer ${accessToken}` }
      for (let turn = 0; written < EVENTS; turn += 1) {
        const [query, name] = turn % 3 === 1 ? [FAIL, email] : [UPDATE, `Ada ${index}-${turn}`]
        const body = JSON.stringify({ query, variables: { name } })
        const { url } = servers[(index + turn) % 2] as (typeof servers)[0]
        // Who is killed in the middle may have written, and said nothing.
        const answer = await fetch(`${await url()}/graphql`, { method: 'POST', headers, body }).catch(() => null)
        if (answer?.ok) written += 1
      }
    }
    const writing = Promise.all(Array.from({ length: WRITERS }, (_, index) => write(index)))
    const after = (count: number) => vi.waitUntil(() => written >= count, { timeout: 120_000 })

    await after(EVENTS * 0.2)
    await redis?.kill()
    await after(EVENTS * 0.35)
    await redis?.start()
    await after(EVENTS * 0.5)
    await servers[1].replace()
    await after(EVENTS * 0.8)
    await redis?.kill()
    await redis?.start()
    await writing

    const { query } = await openDatabase(app.installation)
    const LOG = `
      SELECT id, user_id, risk_level FROM audit_events
      WHERE position > (SELECT position FROM audit_events WHERE id = $1) ORDER BY position`
    const inboxIsEmpty = async () => (await query('SELECT FROM audit_inbox LIMIT 1')).rowCount === 0
    await eventually(inboxIsEmpty).toBe(true)
    const { rows } = await query(LOG, [edges[0]?.node.id])
    expect(rows.length).toBeGreaterThanOrEqual(EVENTS)
    const expected = followers.map(({ owner }) => {
      const visible = rows.filter((row) => !owner || (row.user_id === owner && row.risk_level !== 'LOW'))
      return visible.map(({ id }) => id as string)
    })
    for (const ids of expected) expect(ids.length).toBeGreaterThan(EVENTS / 20)
    const counts = expected.map((ids) => ids.length)
    await eventually(() => followers.map(({ ids }) => ids.length), 60_000).toEqual(counts)
    await Promise.all(followers.map((follower) => follower.stop()))
    expect(followers.map(({ ids }) => ids)).toEqual(expected)
    for (const { connections } of followers) expect(connections()).toBeGreaterThan(5)
  },
  START_MS + 300_000,
)

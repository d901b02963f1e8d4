import { createHmac, hkdfSync } from 'node:crypto'
import pg from 'pg'
import { describe, expect, onTestFinished, test } from 'vitest'
import { openSuccessor } from '../../src/crypto/refresh-tokens.js'
import { open } from '../../src/crypto/secrets.js'
import { startApp } from '../support/app.js'
import { expectType } from '../support/client.js'
import { eventually } from '../support/eventually.js'
import { RefreshDocument } from '../support/generated/graphql.js'
import { SUBJECTS } from '../support/mailbox.js'
import { metric } from '../support/metrics.js'
import { createRefreshing, times } from '../support/refreshing.js'
import { openSocket } from '../support/streams.js'
import type { User } from '../support/user.js'

const ISSUER = { JWT_ISSUER: 'https://auth.example', JWT_AUDIENCE: 'https://auth.example' }
const app = await startApp({ env: ISSUER })
const beside = await startApp({ env: ISSUER, beside: app })
const { clock } = app

const { present, rotate, isSignedIn, tokensOf, liveOf } = createRefreshing(app)
const theOnly = (tokens: readonly string[]) => {
  expect(new Set(tokens).size).toBe(1)
  return tokens[0] ?? ''
}

describe('fifty that refresh at once', () => {
  test('with one token get one successor, and lose no session', async () => {
    const ada = await app.newUser()
    for (let round = 0, token = ada.refreshToken; round < 3; round += 1) {
      token = theOnly(await times(50, () => rotate(token)))
      expect(await liveOf(ada)).toBe(1)
      expect(await isSignedIn(ada)).toBe(true)
    }
    expect(await app.eventsOf(ada, { types: ['TOKEN_REUSE_DETECTED', 'SESSION_TERMINATED'] })).toEqual([])
    expect(await tokensOf(ada)).toHaveLength(4)
  })

  test('with the tokens of ten sessions of one account lose none of them', async () => {
    const ada = await app.newUser()
    const users = [ada, ...(await times(9, () => ada.logIn()))]
    await Promise.all(
      users.map(({ refreshToken }) => times(5, (index) => rotate(refreshToken, index % 2 === 0 ? app : beside))),
    )
    for (const user of users) {
      expect(await liveOf(user)).toBe(1)
      expect(await isSignedIn(user)).toBe(true)
    }
  })
})

describe('a client that does nothing wrong stays signed in', () => {
  test('whose answer was lost: it presents the parent once more, and goes on', async () => {
    const ada = await app.newUser()
    await rotate(ada.refreshToken)
    clock.advance('20s')
    const successor = await rotate(ada.refreshToken, beside)
    await rotate(await rotate(successor))
    expect(await isSignedIn(ada)).toBe(true)
  })

  test('on a phone that loses its network: the parent comes again and again, until an answer arrives', async () => {
    const ada = await app.newUser()
    let token = ada.refreshToken
    for (let trip = 0; trip < 3; trip += 1) {
      const arrived: string[] = []
      for (let attempt = 0; attempt < 5; attempt += 1) {
        arrived.push(await rotate(token, attempt % 2 === 0 ? app : beside))
        clock.advance('5s')
      }
      token = theOnly(arrived)
      clock.advance('10m')
    }
    expect(await liveOf(ada)).toBe(1)
    expect(await app.eventsOf(ada, { types: ['TOKEN_REUSE_DETECTED'] })).toEqual([])
  })

  test('in several tabs that wake up together and share what they keep', async () => {
    const browser = await (await app.newUser()).openBrowser()
    const tab = await browser.withCsrfToken()
    for (let round = 0; round < 3; round += 1) {
      const results = await times(6, () => tab.call(RefreshDocument))
      for (const result of results) expectType(result, 'RefreshSuccess')
      clock.advance('14m')
    }
    expectType(await tab.call(RefreshDocument), 'RefreshSuccess')
  })

  test('whose pages a server renders: both take the same token, and each goes on with what it got', async () => {
    const ada = await app.newUser()
    const [server, browser] = await Promise.all([rotate(ada.refreshToken), rotate(ada.refreshToken, beside)])
    expect(browser).toBe(server)
    clock.advance('1m')
    const [rendered, shown] = await Promise.all([rotate(server), rotate(browser, beside)])
    expect(shown).toBe(rendered)
    clock.advance('10m')
    await rotate(shown)
    expect(await app.eventsOf(ada, { types: ['TOKEN_REUSE_DETECTED'] })).toEqual([])
  })
})

describe('a stolen token ends the session, records it, and tells the owner by mail and live', () => {
  test.each<[string, (user: User) => Promise<string>]>([
    [
      'when the parent comes after the grace period',
      async ({ refreshToken }) => {
        const successor = await rotate(refreshToken)
        clock.advance('31s')
        return successor
      },
    ],
    [
      'when the parent comes after its successor was used',
      async ({ refreshToken }) => rotate(await rotate(refreshToken)),
    ],
    ['when a grandparent comes', async ({ refreshToken }) => rotate(await rotate(await rotate(refreshToken)))],
  ])('%s', async (_, use) => {
    const ada = await app.newUser()
    const stolen = await ada.logIn()
    const next = await use(stolen)
    const owner = await ada.logIn()
    const socket = await openSocket(beside.url, { token: owner.accessToken })
    const alerts = socket.follow('subscription { securityAlerts(minRiskLevel: HIGH) { node { type sessionId } } }')
    await eventually(() => metric(beside.url, 'event_subscribers')).toBe(1)
    const hijacked = await openSocket(app.url, { token: stolen.accessToken })
    expect(await socket.ask('{ me { id } }')).toMatchObject({ data: { me: { id: ada.id } } })

    const results = await times(5, (index) => present(stolen.refreshToken, index % 2 === 0 ? app : beside))
    const reasons = results.map((result) => expectType(result, 'InvalidRefreshTokenError').reason)
    expect(reasons).toContain('REUSED')
    const alert = { type: 'TOKEN_REUSE_DETECTED', sessionId: stolen.sessionId }
    expect((await alerts.next()).data.securityAlerts.node).toEqual(alert)
    expect(await hijacked.closing).toMatchObject({ code: 4403 })
    expect(expectType(await present(next), 'InvalidRefreshTokenError').reason).toBe('REVOKED')
    expect(await isSignedIn(stolen)).toBe(false)
    expect(await isSignedIn(owner)).toBe(true)
    const [event] = await app.eventsOf(ada, { types: ['TOKEN_REUSE_DETECTED'] })
    expect(event).toMatchObject({ ...alert, riskLevel: 'HIGH', success: false })
    const mails = (await app.mailsTo(ada.email)).filter(({ subject }) => subject === SUBJECTS.sessionEnded)
    expect(mails).toHaveLength(1)
  })
})

test('A copy of the database shows no token, and opens no successor', async () => {
  const ada = await app.newUser()
  const given = [ada.refreshToken]
  for (let round = 0; round < 3; round += 1) given.push(await rotate(given.at(-1) ?? ''))
  const database = new pg.Client(app.installation.databaseUrl)
  await database.connect()
  onTestFinished(() => database.end())
  const { rows: tables } = await database.query<{ name: string }>(
    `SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables WHERE schemaname IN ('public', 'jobs')`,
  )
  let copy = ''
  for (const { name } of tables) {
    const { rows } = await database.query<{ row: string }>(`SELECT each::text AS row FROM ${name} AS each`)
    copy += rows.map(({ row }) => row).join('\n')
  }
  expect(copy).toContain(ada.sessionId)
  for (const token of given) {
    const spellings = [token, Buffer.from(token).toString('hex'), Buffer.from(token, 'base64url').toString('hex')]
    for (const spelling of spellings) expect(copy).not.toContain(spelling)
  }

  const stored = await tokensOf(ada)
  expect(stored.map(({ state }) => state)).toEqual(['ROTATED', 'ROTATED', 'ROTATED', 'LIVE'])
  const binary = [...copy.matchAll(/\\x([0-9a-f]+)/g)].map(([, hex = '']) => Buffer.from(hex, 'hex'))
  const openedBy = (key: string) => binary.flatMap((sealed) => openSuccessor(key, sealed) ?? [])
  // The parent opens the live one. Nothing else does, nor leads from an old one to the next, and so on.
  expect(given.map(openedBy)).toEqual([[], [], [given[3]], []])
  const known = stored.flatMap(({ hash }) => ['hex', 'base64', 'base64url'].map((as) => hash.toString(as as 'hex')))
  expect(known.flatMap(openedBy)).toEqual([])
  // Nor do keys that are made of what is stored: as a key, HMAC takes the hash of what is longer than a block.
  const made = stored.flatMap(({ hash }) => [
    ...[
      hash,
      createHmac('sha256', hash).update('refresh-successor').digest(),
      Buffer.from(hkdfSync('sha256', hash, 'portcullis', 'refresh-successor', 32)),
    ],
    createHmac('sha256', hash).update('refresh-successor\x01').digest(),
  ])
  expect(binary.map((sealed) => open(made, sealed, 'refresh-successor'))).toEqual(binary.map(() => null))
})

// What somebody does to the signing keys who can write to the database.
import { generateKeyPairSync } from 'node:crypto'
import { calculateJwkThumbprint, decodeProtectedHeader, type JWK } from 'jose'
import { expect, test } from 'vitest'
import { startApp, type TestApp } from '../support/app.js'
import { runCli } from '../support/cli.js'
import { openDatabase } from '../support/database.js'
import { TEST_ENVIRONMENT } from '../support/environment.js'
import { MeDocument } from '../support/generated/graphql.js'

async function keysOf({ url }: TestApp): Promise<JWK[]> {
  const { keys } = (await (await fetch(`${url}/.well-known/jwks.json`)).json()) as { keys: JWK[] }
  return keys
}

test('A public key that stands beside ours in the database is never published as ours', async () => {
  const app = await startApp()
  const { query } = await openDatabase(app.installation)
  const [{ kid }] = (await query('SELECT kid FROM signing_keys')).rows
  const foreign = generateKeyPairSync('ed25519').publicKey.export({ format: 'jwk' })
  await query('UPDATE signing_keys SET public_jwk = $1', [{ ...foreign, kid, alg: 'EdDSA', use: 'sig' }])
  const restarted = await startApp({ beside: app })
  const keys = await keysOf(restarted)
  expect(keys).toEqual([{ kty: 'OKP', crv: 'Ed25519', x: expect.any(String), kid, alg: 'EdDSA', use: 'sig' }])
  // The kid is the thumbprint of the key that it names (RFC 7638).
  expect(await calculateJwkThumbprint(keys[0] ?? {})).toBe(kid)
})

test('Where the key that signs is gone, the servers go on with a new one by themselves', async () => {
  const app = await startApp()
  const other = await startApp({ beside: app })
  const ada = await app.newUser()
  const { query } = await openDatabase(app.installation)
  await query('DELETE FROM signing_keys')
  app.clock.advance('2s')
  const health = await Promise.all([app, other].map(({ url }) => fetch(`${url}/health/ready`)))
  expect(health.map(({ status }) => status)).toEqual([200, 200])
  expect(await ada.call(MeDocument)).toBeNull()
  expect((await (await ada.refreshed()).call(MeDocument))?.id).toBe(ada.id)
  expect((await query('SELECT FROM signing_keys')).rowCount).toBe(1)
})

test('A private key that is sealed for another name is not used: it opens only where it belongs', async () => {
  const app = await startApp()
  const { query } = await openDatabase(app.installation)
  await query(`UPDATE signing_keys SET kid = 'another'`)
  await expect(startApp({ beside: app })).rejects.toThrow(
    'another was stored under a SECRET_KEY that is not configured',
  )
})

test('The clean-up seals keys anew where they lie under an earlier SECRET_KEY, which can be dropped then', async () => {
  const app = await startApp()
  const ada = await app.newUser()
  const next = 'the-secret-key-that-comes-after-that-of-the-tests'
  const both = await startApp({ env: { SECRET_KEY: `${next},${TEST_ENVIRONMENT.SECRET_KEY}` }, beside: app })
  await both.operator.purge()
  const after = await startApp({ env: { SECRET_KEY: next }, beside: app })
  expect(await keysOf(after)).toEqual(await keysOf(both))
  expect(await ada.sessions()).toHaveLength(1)
})

test('A key that signs no more, of a SECRET_KEY that is gone, is told of, and keeps no server from its start', async () => {
  const app = await startApp()
  const next = 'the-secret-key-that-comes-after-that-of-the-tests'
  const both = await startApp({ env: { SECRET_KEY: `${next},${TEST_ENVIRONMENT.SECRET_KEY}` }, beside: app })
  const kid = await both.operator.rotateKeys()
  const after = await startApp({ env: { SECRET_KEY: next }, beside: app })
  expect((await keysOf(after)).map((key) => key.kid)).toEqual([kid])
  expect(after.log.problems.map(({ message }) => message)).toContain(
    'A signing key was stored under a SECRET_KEY that is not configured',
  )
  after.log.hush(/A signing key was stored under/)
})

test.each([
  ['withdraw the key that they sign with', (kid: string) => ['keys', 'revoke', '--', kid]],
  ['make one that they could not read, by any command', () => ['keys', 'list']],
])('Who has neither the SECRET_KEY nor the JWT_ALGORITHM of the servers cannot %s', async (_, command) => {
  const app = await startApp({ env: { JWT_ALGORITHM: 'ES256' } })
  const ada = await app.newUser()
  const { kid = '' } = decodeProtectedHeader(ada.accessToken)
  const settings = { JWT_ALGORITHM: 'RS256', SECRET_KEY: 'the-secret-key-of-a-shell-on-another-machine' }
  const env = { ...settings, DATABASE_URL: app.installation.databaseUrl }
  const { query } = await openDatabase(app.installation)
  const stored = async () => (await query('SELECT * FROM signing_keys ORDER BY kid')).rows
  const before = await stored()
  const { code, stderr } = await runCli(env, ...command(kid))
  expect(code).toBe(1)
  expect(stderr).toContain('was stored under a SECRET_KEY that is not configured')
  expect(await stored()).toEqual(before)
  app.clock.advance('2s')
  expect((await fetch(`${app.url}/health/ready`)).status).toBe(200)
  expect((await ada.call(MeDocument))?.id).toBe(ada.id)
  expect(decodeProtectedHeader((await ada.refreshed()).accessToken)).toMatchObject({ kid })
})

test('A new key takes the place of those of its own algorithm only', async () => {
  const app = await startApp()
  const other = await startApp({ env: { JWT_ALGORITHM: 'ES256' }, beside: app })
  const before = await keysOf(other)
  await app.operator.rotateKeys()
  app.clock.advance('1h')
  expect(await keysOf(other)).toEqual(before)
})

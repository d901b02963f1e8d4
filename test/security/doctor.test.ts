import { expect, test } from 'vitest'
import { examine } from '../../src/cli/doctor.js'
import { loadConfig } from '../../src/config.js'
import { runCli } from '../support/cli.js'

const PRODUCTION = {
  NODE_ENV: 'production',
  DATABASE_URL: 'postgresql://app@db.example.com/auth?sslmode=verify-full',
  REDIS_URL: 'rediss://redis.example.com',
  SMTP_URL: 'smtps://mail.example.com',
  PUBLIC_URL: 'https://auth.example.com',
  TRUSTED_PROXIES: '10.0.0.0/8',
  SECRET_KEY: 'mPq3x9Zt7vK2nW8rL5yB1cD4fG6hJ0sA',
}
const failing = (env: Record<string, string>) =>
  examine(loadConfig({ ...PRODUCTION, ...env }))
    .filter(({ isPassed }) => !isPassed)
    .map(({ name }) => name)

test('a production server with its defaults passes every check', () => {
  expect(failing({})).toEqual([])
})

test.each([
  ['Production mode', { NODE_ENV: 'development', GRAPHIQL: 'false', INTROSPECTION: 'false' }],
  ['No GraphiQL', { GRAPHIQL: 'true' }],
  ['No introspection', { INTROSPECTION: 'true' }],
  ['TLS for clients', { PUBLIC_URL: '' }],
  ['Known proxies', { TRUSTED_PROXIES: '' }],
  ['TLS to the database', { DATABASE_URL: 'postgresql://app@db.example.com/auth' }],
  ['TLS to the database', { DATABASE_URL: 'postgresql://app@localhost/auth?host=db.example.com' }],
  ['TLS to Redis', { REDIS_URL: 'redis://redis.example.com' }],
  ['Secrets from the operator', { SECRET_KEY: 'a'.repeat(40) }],
  ['Asymmetric signatures', { JWT_ALGORITHM: 'HS256', JWT_SIGNING_KEY: 'b'.repeat(40) }],
  ['Key rotation', { KEY_ROTATION_INTERVAL: 'off' }],
  ['Short access tokens', { ACCESS_TOKEN_LIFETIME: '2h' }],
  ['Session lifetimes', { REMEMBER_ME_LIFETIME: '90d' }],
  ['Password hashing', { PASSWORD_HASH_MEMORY_KIB: '1024' }],
  ['Breached passwords', { BREACH_CHECK_URL: 'off' }],
  ['Verified addresses', { REQUIRE_VERIFIED_EMAIL: 'false' }],
  ['Lockout and limits', { LOCKOUT_THRESHOLD: '1000' }],
  ['Log without details', { LOG_LEVEL: 'debug' }],
  ['Audit retention', { AUDIT_RETENTION: '7d' }],
])('%s fails alone with %j', (name, env) => {
  expect(failing(env)).toEqual([name])
})

test('TLS is not asked for on the way to a socket of this machine', () => {
  expect(failing({ DATABASE_URL: 'postgresql://app@db.example.com/auth?host=/var/run/postgresql' })).toEqual([])
})

// In production mode, nothing would start with it.
test('TLS for clients fails with links of mails that go out without', () => {
  const env = { NODE_ENV: 'development', GRAPHIQL: 'false', INTROSPECTION: 'false' }
  expect(failing({ ...env, FRONTEND_URL: 'http://localhost:3000' })).toEqual(['Production mode'])
  expect(failing({ ...env, FRONTEND_URL: 'http://app.example.com' })).toEqual(['Production mode', 'TLS for clients'])
})

/** Without what the tests set for speed. */
const SETTINGS = {
  ...PRODUCTION,
  ...{ PASSWORD_HASH_MEMORY_KIB: '', PASSWORD_HASH_ITERATIONS: '', BREACH_CHECK_URL: '', RATE_LIMITS: '' },
}

test('doctor prints pass or fail with the reason, and exits with 1 when a check fails', async () => {
  const good = await runCli(SETTINGS, 'doctor')
  expect(good).toMatchObject({ code: 0, stdout: expect.stringContaining('All checks passed.') })
  const bad = await runCli({ ...SETTINGS, INTROSPECTION: 'true' }, 'doctor')
  expect(bad).toMatchObject({
    code: 1,
    stdout: expect.stringMatching(/FAIL +No introspection +4\.3\.2 +INTROSPECTION is on/),
  })
  const refused = await runCli({ ...SETTINGS, FRONTEND_URL: 'http://app.example.com' }, 'doctor')
  expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('FRONTEND_URL: must be https:') })
  const json = await runCli({ ...SETTINGS, INTROSPECTION: 'true' }, 'doctor', '--json')
  expect(JSON.parse(json.stdout)).toMatchObject({ failed: 1 })
})

import { expect, onTestFinished, test, vi } from 'vitest'
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
const DATABASE = 'postgresql://app@db.example.com/auth'
const RANDOM = 'Hx2vQ9cM4tY7kS1nB6zW3fR8jD5gL0pE'
const examined = (env: Record<string, string>) =>
  examine(loadConfig({ ...PRODUCTION, ...env })).filter(({ isPassed }) => !isPassed)
const failing = (env: Record<string, string>) => examined(env).map(({ name }) => name)

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
  ['TLS to the database', { DATABASE_URL: `${DATABASE}?ssl=true&ssl=false` }],
  ['TLS to the database', { DATABASE_URL: `${DATABASE}?sslmode=verify-full&sslmode=disable` }],
  ['TLS to the database', { DATABASE_URL: `${DATABASE}?sslmode=no-verify` }],
  ['TLS to the database', { DATABASE_URL: `${DATABASE}?sslmode=require&sslrootcert=package.json&uselibpqcompat=true` }],
  ['TLS to the database', { DATABASE_URL: `${DATABASE}?sslmode=require&uselibpqcompat=true` }],
  ['TLS to the database', { DATABASE_URL: `${DATABASE}?application_name=sslmode=require` }],
  ['TLS to the database', { DATABASE_URL: `${DATABASE}?sslmode=verify-full&sslrootcert=/nowhere` }],
  ['TLS to Redis', { REDIS_URL: 'redis://redis.example.com' }],
  ['TLS to Redis', { REDIS_URL: 'redis:///0?host=redis.example.com' }],
  ['TLS to Redis', { REDIS_URL: 'rediss://redis.example.com?tls=' }],
  ['TLS to the mail server', { SMTP_URL: 'smtp://mail.example.com' }],
  ['TLS to the mail server', { SMTP_URL: 'smtp://mail.example.com?requireTLS=false' }],
  ['TLS to the mail server', { SMTP_URL: 'smtp://mail.example.com?requireTLS=true&ignoreTLS=true' }],
  ['TLS to the mail server', { SMTP_URL: 'smtps://mail.example.com?tls.rejectUnauthorized=false' }],
  ['TLS of origins', { CORS_ALLOWED_ORIGINS: 'https://a.example,http://b.example' }],
  ['TLS of origins', { CSRF_TRUSTED_ORIGINS: 'http://b.example' }],
  ['Secrets from the operator', { SECRET_KEY: 'a'.repeat(40) }],
  ['Secrets from the operator', { SECRET_KEY: `${RANDOM},${'123456789'.repeat(4)}` }],
  ['Secrets from the operator', { JWT_SIGNING_KEY: `${RANDOM},${'123456789'.repeat(4)}` }],
  ['Asymmetric signatures', { JWT_ALGORITHM: 'HS256', JWT_SIGNING_KEY: RANDOM }],
  ['Key rotation', { KEY_ROTATION_INTERVAL: 'off' }],
  ['Key rotation', { KEY_ROTATION_INTERVAL: '401d' }],
  ['Short access tokens', { ACCESS_TOKEN_LIFETIME: '2h' }],
  ['Session lifetimes', { REMEMBER_ME_LIFETIME: '90d' }],
  ['Session lifetimes', { REFRESH_TOKEN_LIFETIME: '31d' }],
  ['Session lifetimes', { SESSION_IDLE_TIMEOUT: '31d' }],
  ['Refresh tokens once', { REFRESH_GRACE_PERIOD: '301s' }],
  ['Mail links', { PASSWORD_RESET_LIFETIME: '25h' }],
  ['Mail links', { EMAIL_VERIFICATION_LIFETIME: '8d' }],
  ['Mail links', { EXCHANGE_TOKEN_LIFETIME: '601s' }],
  ['Password hashing', { PASSWORD_HASH_MEMORY_KIB: '1024' }],
  ['Password hashing', { PASSWORD_HASH_ITERATIONS: '1' }],
  ['Password rules', { PASSWORD_MIN_SCORE: '1' }],
  ['Breached passwords', { BREACH_CHECK_URL: 'off' }],
  ['Breached passwords', { BREACH_CHECK_URL: 'http://breaches.example.com/range/' }],
  ['Verified addresses', { REQUIRE_VERIFIED_EMAIL: 'false' }],
  ['Lockout and limits', { LOCKOUT_THRESHOLD: '101' }],
  ['Lockout and limits', { LOCKOUT_DURATION: '59s' }],
  ['Lockout and limits', { LOCKOUT_DURATION: '25h' }],
  ['Lockout and limits', { RATE_LIMITS: '*=100000/1m' }],
  // 6,000 an hour for each address.
  ['Lockout and limits', { RATE_LIMITS: 'login=5/1m,100/1m' }],
  ['Lockout and limits', { RATE_LIMITS: 'login=5/1m' }],
  ['Lockout and limits', { RATE_LIMITS: 'register=51/1d' }],
  ['Lockout and limits', { RATE_LIMITS: 'requestPasswordReset=3/1m,51/1h' }],
  ['Lockout and limits', { RATE_LIMITS: 'resetPassword=101/1h' }],
  ['Lockout and limits', { RATE_LIMITS: 'verifyEmail=101/1h' }],
  ['Lockout and limits', { RATE_LIMITS: 'resendVerificationEmail=51/1h' }],
  ['Lockout and limits', { RATE_LIMITS: 'exchangeToken=101/1h' }],
  ['Lockout and limits', { RATE_LIMITS: 'changePassword=2/1m' }],
  ['Lockout and limits', { RATE_LIMITS: 'checkPassword=6/1s' }],
  ['Document limits', { MAX_BODY_BYTES: '1024001' }],
  ['Document limits', { MAX_QUERY_TOKENS: '15001' }],
  ['Document limits', { MAX_QUERY_DEPTH: '101' }],
  ['Document limits', { MAX_QUERY_ALIASES: '301' }],
  ['Document limits', { MAX_QUERY_ROOT_FIELDS: '201' }],
  ['Document limits', { MAX_QUERY_DIRECTIVES: '201' }],
  ['Log without details', { LOG_LEVEL: 'debug' }],
  ['Log without details', { LOG_LEVEL: 'trace' }],
  ['Log of failures', { LOG_LEVEL: 'error' }],
  ['Log of failures', { LOG_LEVEL: 'silent' }],
  ['Audit retention', { AUDIT_RETENTION: '7d' }],
  ['Audit signatures', { AUDIT_CHECKPOINT_INTERVAL: '25h' }],
  ['Detection', { DETECTION_RULES: 'off' }],
])('%s fails alone with %j', (name, env) => {
  expect(failing(env)).toEqual([name])
})

test('what is stricter, a little more lenient, or counts by more, passes', () => {
  const settings = [
    { RATE_LIMITS: 'login=50/1m,250/1h;checkPassword=30/10s;register=1/1h;refresh=100000/1m' },
    // Of the calls of an address, those for one account are a part.
    { RATE_LIMITS: 'login=1000/1m,25/1h' },
    { RATE_LIMITS: 'requestPasswordReset=3/1d,5/1h', LOCKOUT_DURATION: '1m', LOCKOUT_THRESHOLD: '100' },
    {
      CORS_ALLOWED_ORIGINS: 'http://localhost:3000,https://a.example',
      BREACH_CHECK_URL: 'http://127.0.0.1:8080/range/',
    },
    { SECRET_KEY: 'fedcba9876543210fedcba9876543210', MAX_QUERY_DEPTH: '100', LOG_LEVEL: 'warn' },
    { SMTP_URL: 'smtp://mail.example.com?requireTLS=true', REDIS_URL: 'rediss://a.example,REDISS://b.example' },
    { SMTP_URL: 'smtp://127.0.0.1:1025', REDIS_URL: 'redis:///1', DETECTION_RULES: 'NEW_COUNTRY=off' },
    { DATABASE_URL: `${DATABASE}?ssl=true` },
    { DATABASE_URL: `${DATABASE}?sslmode=disable&host=127.0.0.1` },
  ]
  for (const env of settings) expect(failing(env)).toEqual([])
})

test('every reason of a check is told', () => {
  const [finding, ...others] = examined({ RATE_LIMITS: 'login=1000/1m;checkPassword=1000/1m', LOCKOUT_DURATION: '1s' })
  expect(others).toEqual([])
  for (const name of ['login', 'checkPassword', 'LOCKOUT_DURATION']) expect(finding?.reason).toContain(name)
})

test('without a host in its URL the database is where the driver looks for it', () => {
  vi.stubEnv('PGHOST', 'db.example.com')
  onTestFinished(() => void vi.unstubAllEnvs())
  expect(failing({ DATABASE_URL: 'postgresql:///auth' })).toEqual(['TLS to the database'])
  vi.stubEnv('PGHOST', '/var/run/postgresql')
  expect(failing({ DATABASE_URL: 'postgresql:///auth' })).toEqual([])
})

test.each([
  ['Certificates', 'NODE_TLS_REJECT_UNAUTHORIZED', '0', '1'],
  ['Log without details', 'DEBUG', '*', 'false'],
  ['Log without details', 'DEBUG', 'app,ioredis:*', 'app'],
])('%s fails alone where the environment has %s=%s, which others read', (check, name, value, harmless) => {
  onTestFinished(() => void vi.unstubAllEnvs())
  vi.stubEnv(name, value)
  expect(failing({})).toEqual([check])
  vi.stubEnv(name, harmless)
  expect(failing({})).toEqual([])
})

test('TLS is not asked for on the way to a socket of this machine', () => {
  expect(failing({ DATABASE_URL: 'postgresql://app@db.example.com/auth?host=/var/run/postgresql' })).toEqual([])
})

// In production mode, nothing would start with them.
test.each([
  [[], { FRONTEND_URL: 'http://localhost:3000' }],
  [['TLS for clients'], { FRONTEND_URL: 'http://app.example.com' }],
  [['TLS for clients'], { PUBLIC_URL: 'http://auth.example.com' }],
  [['Secrets from the operator'], { SECRET_KEY: '' }],
  [['Lockout and limits'], { RATE_LIMITS: 'off' }],
])('in development mode, %j fails as well with %j', (names, env) => {
  const lenient = { NODE_ENV: 'development', GRAPHIQL: 'false', INTROSPECTION: 'false' }
  expect(failing({ ...lenient, ...env })).toEqual(['Production mode', ...names])
})

/** Without what the tests set for speed. */
const SETTINGS = {
  ...PRODUCTION,
  ...{
    PASSWORD_HASH_MEMORY_KIB: '',
    PASSWORD_HASH_ITERATIONS: '',
    BREACH_CHECK_URL: '',
    RATE_LIMITS: '',
    DETECTION_RULES: '',
  },
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

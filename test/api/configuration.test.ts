import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { expect, inject, test } from 'vitest'
import { loadConfig } from '../../src/config.js'
import { problemsOf } from '../support/configuration.js'
import { makeDataDir, START_MS, startProcess } from '../support/server-process.js'

const DURATIONS = 'must be a duration such as 900s, 15m, 1h or 14d'

test(
  'A server with settings that are not valid prints all of them in one list, and exits with code 1',
  async () => {
    const env = { PORT: 'http', ACCESS_TOKEN_LIFETIME: '15 minutes', SECRET_KEY: 'too-short-a-secret', GRAPHIQL: 'yes' }
    const server = startProcess(env)
    expect(await server.exited).toBe(1)
    expect(server.output().split('\n')).toEqual([
      'The configuration is not valid:',
      '  - PORT: must be a whole number',
      '  - SECRET_KEY: must have at least 32 bytes',
      `  - ACCESS_TOKEN_LIFETIME: ${DURATIONS}`,
      '  - GRAPHIQL: must be true or false',
    ])
    expect(server.output()).not.toContain('too-short-a-secret')
  },
  START_MS,
)

test(
  'A server whose port is taken says so, and exits with code 1',
  async () => {
    const taken = createServer().listen(0, '127.0.0.1')
    await once(taken, 'listening')
    const { port } = taken.address() as AddressInfo
    const env = { DATABASE_URL: inject('database').url, DATA_DIR: makeDataDir(), LOG_FORMAT: 'json' }
    const server = startProcess({ ...env, PORT: `${port}` })
    expect(await server.exited).toBe(1)
    expect(server.output()).toContain(`something else listens on PORT ${port}`)
    taken.close()
  },
  START_MS,
)

test(
  'A server whose database does not answer says so, and exits with code 1',
  async () => {
    const env = { DATABASE_URL: 'postgresql://127.0.0.1:1/none', DATA_DIR: makeDataDir(), LOG_FORMAT: 'json' }
    const server = startProcess(env)
    expect(await server.exited).toBe(1)
    expect(server.output()).toContain('The database of DATABASE_URL does not answer')
  },
  START_MS,
)

test(
  'A server whose place database is not whole says so, and exits with code 1',
  async () => {
    const DATA_DIR = makeDataDir()
    const path = join(DATA_DIR, 'cut.mmdb')
    writeFileSync(path, Buffer.from('\xab\xcd\xefMaxMind.com', 'latin1'))
    const env = { DATABASE_URL: inject('database').url, DATA_DIR, LOG_FORMAT: 'json', GEOIP_DATABASE: path }
    const server = startProcess(env)
    expect(await server.exited).toBe(1)
    expect(server.output()).toContain(`"GEOIP_DATABASE: ${path} cannot be read as a MaxMind database: `)
  },
  START_MS,
)

const PRODUCTION = {
  NODE_ENV: 'production',
  DATABASE_URL: 'postgres://127.0.0.1/portcullis',
  SECRET_KEY: 'a-secret-key-that-is-long-enough-for-this',
  SMTP_URL: 'smtps://mail.example.com',
  PUBLIC_URL: 'https://auth.example.com',
}

test('Production takes settings that are complete', () => {
  expect(problemsOf(PRODUCTION)).toEqual([])
  for (const setting of ['PUBLIC_URL', 'FRONTEND_URL'])
    expect(problemsOf({ ...PRODUCTION, [setting]: 'http://localhost:4000' })).toEqual([])
})

test.each([
  ['no database', { DATABASE_URL: '' }, 'DATABASE_URL: required in production'],
  ['no secret key', { SECRET_KEY: '' }, /^SECRET_KEY: required in production/],
  ['no mail server', { SMTP_URL: '' }, 'SMTP_URL: required in production'],
  ['a public URL without TLS', { PUBLIC_URL: 'http://auth.example.com' }, /^PUBLIC_URL: must be https:/],
  ['a public URL without TLS, in capitals', { PUBLIC_URL: 'HTTP://auth.example.com' }, /^PUBLIC_URL: must be https:/],
  ['links of mails without TLS', { FRONTEND_URL: 'http://app.example.com' }, /^FRONTEND_URL: must be https:/],
  ['a short secret for the flush', { CRON_SECRET: 'short' }, /^CRON_SECRET: must have at least 16/],
  ['a short token for metrics', { METRICS_TOKEN: 'short' }, /^METRICS_TOKEN: must have at least 16/],
  ['no limits', { RATE_LIMITS: 'off' }, 'RATE_LIMITS: cannot be off in production'],
])('Production refuses to start with %s', (_, env, problem) => {
  expect(problemsOf({ ...PRODUCTION, ...env })).toEqual([expect.stringMatching(problem)])
  expect(problemsOf({ ...env, NODE_ENV: 'development' })).toEqual([])
})

test('Production starts without PUBLIC_URL and MAIL_FROM, and warns of it', () => {
  const complete = { ...PRODUCTION, MAIL_FROM: 'Portcullis <auth@example.com>', TRUSTED_PROXIES: '10.0.0.1' }
  expect(loadConfig(complete).warnings).toEqual([])
  expect(loadConfig({ ...complete, TRUSTED_PROXIES: '' }).warnings).toEqual([expect.stringMatching(/TRUSTED_PROXIES/)])
  expect(loadConfig({ ...PRODUCTION, PUBLIC_URL: '' }).warnings).toEqual([
    expect.stringMatching(/^PUBLIC_URL is not set/),
    expect.stringMatching(/^MAIL_FROM ends with @localhost/),
  ])
  expect(loadConfig({}).warnings).toEqual([])
})

test('Production tells everything that it lacks together', () => {
  expect(problemsOf({ NODE_ENV: 'production', RATE_LIMITS: 'off' })).toHaveLength(4)
})

test('What cannot be read and what does not go together stand in one list', () => {
  const env = {
    ...{ NODE_ENV: 'production', PORT: '65536', SECRET_KEY: 'too-short-a-secret', GRAPHIQL: 'yes' },
    ...{ PUBLIC_URL: 'http://auth.example.com', RATE_LIMITS: 'login=many', DETECTION_RULES: 'GUESSING=5/1h' },
    ...{ JWT_ALGORITHM: 'HS256', PASSWORD_MIN_LENGTH: '100', PASSWORD_MAX_LENGTH: '64' },
  }
  expect(problemsOf(env)).toEqual([
    expect.stringMatching(/^PORT: /),
    // And not that it is required: it is given.
    'SECRET_KEY: must have at least 32 bytes',
    'GRAPHIQL: must be true or false',
    'DATABASE_URL: required in production',
    'SMTP_URL: required in production',
    'PUBLIC_URL: must be https: in production, unless it is loopback',
    expect.stringMatching(/^RATE_LIMITS: /),
    expect.stringMatching(/^DETECTION_RULES: there is no rule named "GUESSING"/),
    'JWT_SIGNING_KEY: required for HS256',
    'PASSWORD_MIN_LENGTH: exceeds PASSWORD_MAX_LENGTH',
  ])
})

test.each([
  ['a port out of range', { PORT: '65536' }, /^PORT:/],
  ['a pool of one connection', { DATABASE_POOL_SIZE: '1' }, /^DATABASE_POOL_SIZE:/],
  ['a database that is no PostgreSQL', { DATABASE_URL: 'mysql://127.0.0.1/x' }, /^DATABASE_URL: must be a URL/],
  ['an origin with a path', { CORS_ALLOWED_ORIGINS: 'https://a.example/x' }, /^CORS_ALLOWED_ORIGINS: must be an exact/],
  ['every origin', { CORS_ALLOWED_ORIGINS: '*' }, /^CORS_ALLOWED_ORIGINS: must be a URL/],
  ['a pattern of origins', { CORS_ALLOWED_ORIGINS: 'https://*.a.example' }, /^CORS_ALLOWED_ORIGINS: must be an exact/],
  ['origins without a scheme', { CSRF_TRUSTED_ORIGINS: 'a.example,b.example' }, /^CSRF_TRUSTED_ORIGINS: must be a URL/],
  ['a sender that is no address', { MAIL_FROM: 'Portcullis' }, /^MAIL_FROM: must be an address/],
  ['a name of two lines', { PRODUCT_NAME: 'Port\ncullis' }, 'PRODUCT_NAME: must be one line of text'],
  ['a name that turns around', { PRODUCT_NAME: 'Port\u202ecullis' }, 'PRODUCT_NAME: must be one line of text'],
  ['a name of blanks', { PRODUCT_NAME: '  ' }, 'PRODUCT_NAME: must be one line of text'],
  ['a name that is too long', { PRODUCT_NAME: 'x'.repeat(51) }, 'PRODUCT_NAME: must have at most 50 characters'],
  ['a public URL with a query', { PUBLIC_URL: 'https://a.example/?x=1' }, /^PUBLIC_URL: must have no query/],
  ['another mode', { NODE_ENV: 'staging' }, /^NODE_ENV: must be one of development, test, production/],
  ['a proxy that is no address', { TRUSTED_PROXIES: 'proxy.local' }, /^TRUSTED_PROXIES: must be addresses/],
  ['one short key among several', { SECRET_KEY: `${'x'.repeat(32)},short` }, /^SECRET_KEY:/],
  ['HS256 without a key', { JWT_ALGORITHM: 'HS256' }, 'JWT_SIGNING_KEY: required for HS256'],
  [
    'one secret for two purposes',
    { SECRET_KEY: `${'x'.repeat(32)},${'y'.repeat(32)}`, JWT_SIGNING_KEY: `${'z'.repeat(32)},${'y'.repeat(32)}` },
    /^JWT_SIGNING_KEY: must be independent of SECRET_KEY/,
  ],
  ['an unknown algorithm', { JWT_ALGORITHM: 'none' }, /^JWT_ALGORITHM:/],
  ['a duration of nothing', { ACCESS_TOKEN_LIFETIME: '0s' }, /^ACCESS_TOKEN_LIFETIME: must be at least/],
  [
    'a duration that no date can hold',
    { REFRESH_TOKEN_LIFETIME: '99999999d' },
    /^REFRESH_TOKEN_LIFETIME: must be at most/,
  ],
  ['minutes where months were meant', { AUDIT_RETENTION: '12m' }, /^AUDIT_RETENTION: must be at least 1d/],
  ['a server in a path', { PUBLIC_URL: 'https://example.com/auth' }, /^PUBLIC_URL: must have no path/],
  [
    'less memory than the lanes of a hash take',
    { PASSWORD_HASH_MEMORY_KIB: '8', PASSWORD_HASH_PARALLELISM: '2' },
    /^PASSWORD_HASH_MEMORY_KIB: must be at least eight times/,
  ],
  [
    'passwords longer than the longest',
    { PASSWORD_MIN_LENGTH: '100', PASSWORD_MAX_LENGTH: '64' },
    /^PASSWORD_MIN_LENGTH:/,
  ],
  [
    'a rule that there is not',
    { DETECTION_RULES: 'GUESSING=5/1h' },
    /^DETECTION_RULES: there is no rule named "GUESSING"/,
  ],
  [
    'a rule without a threshold',
    { DETECTION_RULES: 'STUFFING=many' },
    'DETECTION_RULES: cannot read "STUFFING=many"; write it as STUFFING=10/10m, or STUFFING=off',
  ],
  ['a place database that does not exist', { GEOIP_DATABASE: '/nowhere.mmdb' }, /^GEOIP_DATABASE:/],
])('No server starts with %s', (_, env, problem) => {
  expect(problemsOf(env)).toEqual([expect.stringMatching(problem)])
})

test('An empty value counts as none', () => {
  expect(loadConfig({ PORT: '', PUBLIC_URL: '', RATE_LIMITS: '' })).toEqual(loadConfig({}))
})

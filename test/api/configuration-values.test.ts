import { expect, test } from 'vitest'
import { loadConfig } from '../../src/config.js'
import { problemsOf } from '../support/configuration.js'

test('A limit needs a window: without one it would be none', () => {
  for (const rule of ['*=1/0s', 'login=5/36501d', 'login=5/99999999999999999d'])
    expect(problemsOf({ RATE_LIMITS: rule })).toEqual([
      `RATE_LIMITS: the window of "${rule}" is no time at all, or longer than 36500d`,
    ])
  expect(problemsOf({ RATE_LIMITS: 'toString=1/1m' })).toEqual([expect.stringMatching(/no limit named/)])
})

test.each([
  ...['NEW_COUNTRY=36501d', 'STUFFING=5/36501d', 'STUFFING=5/0s', 'STUFFING=5/1h=more', 'IMPOSSIBLE_TRAVEL=fast'],
])('No rule can look for %s', (rule) => {
  expect(problemsOf({ DETECTION_RULES: rule })).toEqual([expect.stringContaining(`cannot read "${rule}"`)])
})

test.each([
  ['PUBLIC_URL', 'http:localhost'],
  ['FRONTEND_URL', 'https:/app.example.com'],
  ['REDIS_URL', 'redis:localhost'],
  ['MAIL_FROM', 'Portcullis <auth@example.com'],
  ['MAIL_FROM', 'auth@example.com>'],
])('%s=%s is not whole', (name, value) => {
  expect(problemsOf({ [name]: value })).toEqual([expect.stringMatching(new RegExp(`^${name}: must be `))])
})

test.each([
  ...['STUFFING=0/1h', 'STUFFING=101/1h', 'STUFFING=5/0m', 'STUFFING=90d', 'STUFFING', 'NEW_COUNTRY=5/1h'],
  ...['NEW_COUNTRY=0d', 'IMPOSSIBLE_TRAVEL=1h', 'IMPOSSIBLE_TRAVEL=0km/h', 'IMPOSSIBLE_TRAVEL=100001km/h'],
])('DETECTION_RULES takes no %s', (entry) => {
  expect(problemsOf({ DETECTION_RULES: entry })).toEqual([expect.stringMatching(/^DETECTION_RULES: cannot read "/)])
})

test('DETECTION_RULES changes what it names', () => {
  const hour = 3_600_000
  const { detection } = loadConfig({ DETECTION_RULES: 'STUFFING=20/1h; NEW_COUNTRY=off;IMPOSSIBLE_TRAVEL=501km/h;' })
  const { NEW_COUNTRY, ...defaults } = loadConfig({}).detection
  expect(NEW_COUNTRY).toEqual({ limit: 1, windowMs: 90 * 24 * hour })
  expect(detection).toEqual({
    ...defaults,
    STUFFING: { limit: 20, windowMs: hour },
    IMPOSSIBLE_TRAVEL: { limit: 501, windowMs: 40 * hour },
  })
  expect(loadConfig({ DETECTION_RULES: 'off' }).detection).toEqual({})
})

test('All that is wrong with limits and with rules is told together', () => {
  const env = {
    RATE_LIMITS: 'login=many;guess=1/1m;register=5/0s;login=5/1m;login=6/1m;*=1/1m;*=2/1m',
    DETECTION_RULES: 'STUFFING=many;GUESSING=5/1h;RESET_BURST=5/1h;RESET_BURST=off;NEW_COUNTRY=90',
  }
  expect(problemsOf(env)).toEqual([
    'RATE_LIMITS: cannot read "login=many"; write it as login=5/1m,25/1h',
    'RATE_LIMITS: there is no limit named "guess"',
    expect.stringMatching(/^RATE_LIMITS: the window of "register=5\/0s" is no time at all/),
    'RATE_LIMITS: "login" stands there twice',
    'RATE_LIMITS: "*" stands there twice',
    expect.stringMatching(/^DETECTION_RULES: there is no rule named "GUESSING"/),
    'DETECTION_RULES: "RESET_BURST" stands there twice',
    'DETECTION_RULES: cannot read "NEW_COUNTRY=90"; write it as NEW_COUNTRY=90d, or NEW_COUNTRY=off',
    'DETECTION_RULES: cannot read "STUFFING=many"; write it as STUFFING=10/10m, or STUFFING=off',
  ])
})

test.each([['anonymous=0/1m'], ['authenticated=5/1m,0/1h'], ['*=00/1m']])(
  'No limit refuses everybody, as %s would',
  (entry) => {
    expect(problemsOf({ RATE_LIMITS: entry })).toEqual([
      `RATE_LIMITS: "${entry}" would refuse everybody: write 1 or more`,
    ])
  },
)

test.each([
  ...['redis://127.0.0.1/abc', 'redis://127.0.0.1/1/', 'redis://127.0.0.1/1.5', 'rediss://127.0.0.1/?db=abc'],
])('%s has no number of a database', (url) => {
  expect(problemsOf({ REDIS_URL: url })).toEqual([
    'REDIS_URL: must have no path but the number of a database, such as redis://127.0.0.1:6379/1',
  ])
})

test('A Cluster has no database but the first', () => {
  for (const nodes of ['redis://a/1,redis://b/1', 'redis://a,redis://b/?db=2'])
    expect(problemsOf({ REDIS_URL: nodes })).toEqual([expect.stringMatching(/^REDIS_URL: must name no database/)])
  for (const nodes of ['redis://a,redis://b', 'redis://a/0,redis://b/', 'redis://a/1'])
    expect(problemsOf({ REDIS_URL: nodes })).toEqual([])
})

test.each([...['0.0.0.0/0', '10.0.0.1,0.0.0.0/1', '10.0.0.0/7', '::/0', 'fc00::/6', '::/8', '::ffff:10.0.0.0/103']])(
  'Nobody has proxies in all of %s',
  (ranges) => {
    expect(problemsOf({ TRUSTED_PROXIES: ranges })).toEqual([
      expect.stringMatching(/^TRUSTED_PROXIES: must have no range wider than \/8, of IPv6 \/7/),
    ])
  },
)

test("Proxies may be in the networks that are nobody else's", () => {
  expect(problemsOf({ TRUSTED_PROXIES: '10.0.0.0/8,fc00::/7,::ffff:10.0.0.0/104,::1,fe80::1%eth0' })).toEqual([])
})

test.each([
  ['SMTP_URL', 'smtp://', 'must name a host'],
  [
    'SMTP_URL',
    'smtp://a?logger=true',
    'must have no logger: it would write every mail, and the tokens in it, to the log',
  ],
  ['PUBLIC_URL', 'https://user:password@example.com', 'must have no user and no password'],
  ['FRONTEND_URL', 'https://user@example.com/app', 'must have no user and no password'],
  ['JWT_ISSUER', '  ', 'must not be blank'],
  ['JWT_AUDIENCE', '\t', 'must not be blank'],
  ['MAIL_FROM', 'Portcullis\r\nBcc: <auth@example.com>', 'must be one line of text'],
  ['MAIL_FROM', 'auth\0@example.com', 'must be one line of text'],
  ['METRICS_TOKEN', 'a token that no header brings', 'must have letters, .*'],
  ['METRICS_TOKEN', 'a-token-with-a-line-break\n', 'must have letters, .*'],
  ['CRON_SECRET', 'a-secret-with\0-in-it', 'must be ASCII .*'],
  ['CRON_SECRET', 'a-secret-and-a-blank ', 'must be ASCII .*'],
  ['CRON_SECRET', 'ein-Schlüssel-mit-Umlaut', 'must be ASCII .*'],
  ['GEOIP_DATABASE', '/etc/passwd', 'cannot be read as a MaxMind database'],
  ['GEOIP_DATABASE', '/', 'it is no file'],
])('%s cannot be %j', (name, value, problem) => {
  expect(problemsOf({ [name]: value })).toEqual([expect.stringMatching(`^${name}: .*${problem}$`)])
})

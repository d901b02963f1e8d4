import type { Command } from 'commander'
import { type Config, loadConfig } from '../config.js'
import { isLocalHost, isLoopback } from '../config-values.js'
import { examples, print, table } from './output.js'

interface Check {
  name: string
  /** Requirements of OWASP ASVS 5.0, as in docs/asvs.md. */
  asvs: string
  /** What is wrong, and what to do; null where nothing is. */
  problemOf(config: Config): string | null
}

interface Finding {
  name: string
  asvs: string
  isPassed: boolean
  reason: string
}

const MINUTE_MS = 60_000
const DAY_MS = 24 * 60 * MINUTE_MS
const MIN_HASH_MEMORY_KIB = 19_456
const MIN_SECRET_BYTES = 32

const leavesOpenly = (url: string | undefined, ...secure: string[]) =>
  url !== undefined && !isLoopback(url) && !secure.includes(new URL(url).protocol)
/** The driver goes where `host` says, whatever stands before it. */
const databaseHostOf = (url: string) => new URL(url).searchParams.get('host') ?? new URL(url).hostname
const hasTls = (url: string) => /[?&](sslmode=(require|verify-ca|verify-full)|ssl=true)\b/.test(url)

const CHECKS: readonly Check[] = [
  {
    name: 'Production mode',
    asvs: '13.4.2',
    problemOf: ({ isProduction }) => (isProduction ? null : 'set NODE_ENV=production: development is lenient'),
  },
  {
    name: 'No GraphiQL',
    asvs: '13.4.2',
    problemOf: ({ graphiql }) => (graphiql ? 'GRAPHIQL is on' : null),
  },
  {
    name: 'No introspection',
    asvs: '4.3.2',
    problemOf: ({ introspection }) => (introspection ? 'INTROSPECTION is on' : null),
  },
  {
    name: 'TLS for clients',
    asvs: '3.3.1, 4.4.1',
    problemOf: ({ urls }) =>
      urls.public === undefined
        ? 'PUBLIC_URL is not set: tokens and mails name localhost'
        : leavesOpenly(urls.public, 'https:')
          ? 'PUBLIC_URL is not https:'
          : leavesOpenly(urls.frontend, 'https:')
            ? 'FRONTEND_URL is not https:, and links of mails carry tokens there'
            : null,
  },
  {
    name: 'Known proxies',
    asvs: '4.1.3, 6.3.1',
    problemOf: ({ proxyProblem }) => proxyProblem,
  },
  {
    name: 'TLS to the database',
    asvs: '11.2.1',
    problemOf: ({ database: { url } }) =>
      url && !isLocalHost(databaseHostOf(url)) && !hasTls(url)
        ? 'DATABASE_URL leaves the machine without sslmode=verify-full'
        : null,
  },
  {
    name: 'TLS to Redis',
    asvs: '11.2.1',
    problemOf: ({ redisUrls }) =>
      redisUrls?.some((url) => leavesOpenly(url, 'rediss:')) ? 'REDIS_URL leaves the machine without rediss:' : null,
  },
  {
    name: 'Secrets from the operator',
    asvs: '13.3.1, 11.5.1',
    problemOf: ({ secretKeys }) =>
      !secretKeys
        ? 'SECRET_KEY is not set: a generated one lies in DATA_DIR'
        : new Set(secretKeys[0]).size < MIN_SECRET_BYTES / 4
          ? 'SECRET_KEY does not look random: make it with `openssl rand -base64 48`'
          : null,
  },
  {
    name: 'Asymmetric signatures',
    asvs: '9.1.2',
    problemOf: ({ jwt }) =>
      jwt.algorithm === 'HS256' ? 'HS256: whoever verifies tokens can make them; prefer EdDSA' : null,
  },
  {
    name: 'Key rotation',
    asvs: '13.3.1',
    problemOf: ({ jwt }) => (jwt.rotationMs === null ? 'KEY_ROTATION_INTERVAL is off' : null),
  },
  {
    name: 'Short access tokens',
    asvs: '7.3.2',
    problemOf: ({ jwt }) => (jwt.lifetimeMs > 60 * MINUTE_MS ? 'ACCESS_TOKEN_LIFETIME is over an hour' : null),
  },
  {
    name: 'Session lifetimes',
    asvs: '7.3.1, 7.3.2',
    problemOf: ({ sessions }) =>
      Math.max(sessions.lifetimeMs, sessions.rememberMeLifetimeMs) > 30 * DAY_MS
        ? 'sessions may live for over 30 days: shorten REFRESH_TOKEN_LIFETIME or REMEMBER_ME_LIFETIME'
        : null,
  },
  {
    name: 'Password hashing',
    asvs: '11.4.2',
    problemOf: ({ hashing: { memoryKib, iterations } }) =>
      memoryKib < MIN_HASH_MEMORY_KIB || iterations < 2
        ? `argon2id with ${memoryKib} KiB and ${iterations} passes: take 19456 KiB and 2, or more`
        : null,
  },
  {
    name: 'Breached passwords',
    asvs: '6.2.12',
    problemOf: ({ passwords }) => (passwords.breachCheckUrl ? null : 'BREACH_CHECK_URL is off'),
  },
  {
    name: 'Verified addresses',
    asvs: '6.3.4',
    problemOf: ({ requireVerifiedEmail }) => (requireVerifiedEmail ? null : 'REQUIRE_VERIFIED_EMAIL is false'),
  },
  {
    name: 'Lockout and limits',
    asvs: '6.3.1, 2.4.1',
    problemOf: ({ rateLimits, lockout }) =>
      !rateLimits
        ? 'RATE_LIMITS is off'
        : lockout.threshold > 100
          ? 'LOCKOUT_THRESHOLD is over 100: NIST SP 800-63B allows no more failures'
          : null,
  },
  {
    name: 'Log without details',
    asvs: '16.2.5',
    problemOf: ({ log }) => (['trace', 'debug'].includes(log.level) ? `LOG_LEVEL is ${log.level}` : null),
  },
  {
    name: 'Audit retention',
    asvs: '16.1.1',
    problemOf: ({ audit }) => (audit.retentionMs < 90 * DAY_MS ? 'AUDIT_RETENTION is under 90 days' : null),
  },
]

/**
 * Compares a configuration with the requirements that a configuration can break.
 * @internal
 */
export const examine = (config: Config): Finding[] =>
  CHECKS.map(({ name, asvs, problemOf }) => {
    const problem = problemOf(config)
    return { name, asvs, isPassed: problem === null, reason: problem ?? '' }
  })

export function addDoctorCommand(program: Command): void {
  program
    .command('doctor')
    .description('check the configuration against OWASP ASVS 5.0 (docs/asvs.md); exit status 1 when a check fails')
    .addHelpText('after', examples('doctor', 'doctor --json'))
    .action((_options, command: Command) => {
      const findings = examine(loadConfig(process.env))
      const failed = findings.filter(({ isPassed }) => !isPassed).length
      const rows = findings.map(({ name, asvs, isPassed, reason }) => [isPassed ? 'pass' : 'FAIL', name, asvs, reason])
      const summary = failed > 0 ? `${failed} of ${findings.length} checks failed.` : 'All checks passed.'
      print(command, { findings, failed }, `${table(['Result', 'Check', 'ASVS', 'Reason'], rows)}\n${summary}`)
      if (failed > 0) process.exitCode = 1
    })
}

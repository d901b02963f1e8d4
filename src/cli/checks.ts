// What the doctor looks at: requirements of OWASP ASVS 5.0 that a configuration can break.
import { type Config, loadConfig } from '../config.js'
import { type Check, CONNECTION_CHECKS, leavesOpenly } from './connection-checks.js'

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
const DAY_MS = 24 * HOUR_MS
const MIN_HASH_MEMORY_KIB = 19_456
const MIN_DIFFERENT_CHARACTERS = 10
/** How many times more than by default. */
const LENIENT = 10
/** What lets somebody in, mails somebody or hashes a password. */
const GUARDED_BY_LIMITS = [
  ...['login', 'register', 'requestPasswordReset', 'resetPassword', 'verifyEmail', 'resendVerificationEmail'],
  ...['exchangeToken', 'changePassword', 'checkPassword'],
]
const DOCUMENT_LIMITS = [
  ['bodyBytes', 'MAX_BODY_BYTES'],
  ['tokens', 'MAX_QUERY_TOKENS'],
  ['depth', 'MAX_QUERY_DEPTH'],
  ['aliases', 'MAX_QUERY_ALIASES'],
  ['rootFields', 'MAX_QUERY_ROOT_FIELDS'],
  ['directives', 'MAX_QUERY_DIRECTIVES'],
] as const
const DEFAULTS = loadConfig({})

type RateLimits = NonNullable<Config['rateLimits']>

/** The most calls that the rules allow in so long; a rule of addresses holds for the pairs of an address, too. */
const callsIn = (windowMs: number, by: string, rules: RateLimits[string]) =>
  Math.min(
    ...rules
      .filter((rule) => rule.by === by || by.startsWith(`${rule.by}+`))
      .map((rule) => rule.max * Math.ceil(windowMs / rule.windowMs)),
  )

/** Whether a stranger may do something far more often than by default. */
const isLenient = (limits: RateLimits, field: string) =>
  DEFAULTS.rateLimits?.[field]?.some(
    ({ max, windowMs, by }) => callsIn(windowMs, by, limits[field] ?? []) > LENIENT * max,
  )

const keysOf = ({ secretKeys, jwt }: Config) =>
  Object.entries({ SECRET_KEY: secretKeys ?? [], JWT_SIGNING_KEY: jwt.hmacKeys })

export const CHECKS: readonly Check[] = [
  {
    name: 'Production mode',
    asvs: '13.4.2',
    problemsOf: ({ isProduction }) => [!isProduction && 'set NODE_ENV=production: development is lenient'],
  },
  {
    name: 'No GraphiQL',
    asvs: '13.4.2',
    problemsOf: ({ graphiql }) => [graphiql && 'GRAPHIQL is on'],
  },
  {
    name: 'No introspection',
    asvs: '4.3.2',
    problemsOf: ({ introspection }) => [introspection && 'INTROSPECTION is on'],
  },
  ...CONNECTION_CHECKS,
  {
    name: 'Secrets from the operator',
    asvs: '13.3.1, 11.5.1',
    problemsOf: (config) => [
      !config.secretKeys && 'SECRET_KEY is not set: a generated one lies in DATA_DIR',
      ...keysOf(config).map(
        ([name, keys]) =>
          keys.some((key) => new Set(key).size < MIN_DIFFERENT_CHARACTERS) &&
          `${name} does not look random: make each key with \`openssl rand -base64 48\``,
      ),
    ],
  },
  {
    name: 'Asymmetric signatures',
    asvs: '9.1.2',
    problemsOf: ({ jwt }) => [
      jwt.algorithm === 'HS256' && 'HS256: whoever verifies tokens can make them; prefer EdDSA',
    ],
  },
  {
    name: 'Key rotation',
    asvs: '13.3.1',
    problemsOf: ({ jwt }) => [
      jwt.rotationMs === null && 'KEY_ROTATION_INTERVAL is off',
      (jwt.rotationMs ?? 0) > 400 * DAY_MS && 'KEY_ROTATION_INTERVAL is over 400 days',
    ],
  },
  {
    name: 'Short access tokens',
    asvs: '7.3.2',
    problemsOf: ({ jwt }) => [jwt.lifetimeMs > HOUR_MS && 'ACCESS_TOKEN_LIFETIME is over an hour'],
  },
  {
    name: 'Session lifetimes',
    asvs: '7.3.1, 7.3.2',
    problemsOf: ({ sessions }) => [
      Math.max(sessions.lifetimeMs, sessions.rememberMeLifetimeMs) > 30 * DAY_MS &&
        'sessions may live for over 30 days: shorten REFRESH_TOKEN_LIFETIME or REMEMBER_ME_LIFETIME',
      sessions.idleTimeoutMs > 30 * DAY_MS && 'SESSION_IDLE_TIMEOUT is over 30 days',
    ],
  },
  {
    name: 'Refresh tokens once',
    asvs: '7.2.4',
    problemsOf: ({ sessions }) => [
      sessions.refreshGraceMs > 5 * MINUTE_MS &&
        'REFRESH_GRACE_PERIOD is over 5 minutes: a stolen token works for so long',
    ],
  },
  {
    name: 'Mail links',
    asvs: '6.4.1, 6.5.5',
    problemsOf: ({ oneTimeTokens }) => [
      oneTimeTokens.PASSWORD_RESET > DAY_MS && 'PASSWORD_RESET_LIFETIME is over 24 hours',
      oneTimeTokens.EMAIL_VERIFICATION > 7 * DAY_MS && 'EMAIL_VERIFICATION_LIFETIME is over 7 days',
      oneTimeTokens.EXCHANGE > 10 * MINUTE_MS && 'EXCHANGE_TOKEN_LIFETIME is over 10 minutes',
    ],
  },
  {
    name: 'Password hashing',
    asvs: '11.4.2',
    problemsOf: ({ hashing: { memoryKib, iterations } }) => [
      (memoryKib < MIN_HASH_MEMORY_KIB || iterations < 2) &&
        `argon2id with ${memoryKib} KiB and ${iterations} passes: take 19456 KiB and 2, or more`,
    ],
  },
  {
    // Shorter ones than 8 characters nothing starts with.
    name: 'Password rules',
    asvs: '6.2.4',
    problemsOf: ({ passwords }) => [
      passwords.minScore < 2 && 'PASSWORD_MIN_SCORE is under 2: guessable ones are taken',
    ],
  },
  {
    name: 'Breached passwords',
    asvs: '6.2.12',
    problemsOf: ({ passwords }) => [
      passwords.breachCheckUrl === null && 'BREACH_CHECK_URL is off',
      leavesOpenly(passwords.breachCheckUrl ?? undefined, 'https:') &&
        'BREACH_CHECK_URL is not https:, and anybody on the way can answer',
    ],
  },
  {
    name: 'Verified addresses',
    asvs: '6.3.4',
    problemsOf: ({ requireVerifiedEmail }) => [!requireVerifiedEmail && 'REQUIRE_VERIFIED_EMAIL is false'],
  },
  {
    name: 'Lockout and limits',
    asvs: '6.3.1, 2.4.1',
    problemsOf: ({ rateLimits, lockout }) => [
      !rateLimits && 'RATE_LIMITS is off',
      ...(rateLimits ? GUARDED_BY_LIMITS.filter((field) => isLenient(rateLimits, field)) : []).map(
        (field) =>
          `RATE_LIMITS allows ${LENIENT} times as many calls of ${field} as the default, or more: is a limit missing?`,
      ),
      lockout.threshold > 100 && 'LOCKOUT_THRESHOLD is over 100: NIST SP 800-63B allows no more failures',
      lockout.durationMs < MINUTE_MS && 'LOCKOUT_DURATION is under a minute',
      lockout.durationMs > DAY_MS && 'LOCKOUT_DURATION is over a day: for so long anybody can lock an owner out',
    ],
  },
  {
    name: 'Document limits',
    asvs: '4.3.1',
    problemsOf: ({ limits }) =>
      DOCUMENT_LIMITS.map(
        ([name, setting]) =>
          limits[name] > LENIENT * DEFAULTS.limits[name] && `${setting} is over ${LENIENT * DEFAULTS.limits[name]}`,
      ),
  },
  {
    name: 'Log without details',
    asvs: '16.2.5',
    problemsOf: ({ log }) => [
      ['trace', 'debug'].includes(log.level) && `LOG_LEVEL is ${log.level}`,
      /\*|ioredis|prisma/.test(process.env.DEBUG ?? '') &&
        'DEBUG is set: the clients of Redis and PostgreSQL print what they send, passwords of theirs included',
    ],
  },
  {
    name: 'Log of failures',
    asvs: '16.3.3, 16.3.4',
    problemsOf: ({ log }) => [
      ['error', 'silent'].includes(log.level) && `LOG_LEVEL is ${log.level}: warnings are lost`,
    ],
  },
  {
    name: 'Audit retention',
    asvs: '16.1.1',
    problemsOf: ({ audit }) => [audit.retentionMs < 90 * DAY_MS && 'AUDIT_RETENTION is under 90 days'],
  },
  {
    name: 'Audit signatures',
    asvs: '16.4.2',
    problemsOf: ({ audit }) => [
      audit.checkpointMs > DAY_MS &&
        'AUDIT_CHECKPOINT_INTERVAL is over a day: for so long nothing shows that newer events were changed',
    ],
  },
  {
    name: 'Detection',
    asvs: '6.3.1',
    problemsOf: ({ detection }) => [
      Object.keys(detection).length === 0 && 'DETECTION_RULES turns all off: nobody is told of unusual sign-ins',
    ],
  },
]

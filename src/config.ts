import { z } from 'zod'
import { combinationProblems } from './config-combinations.js'
import { productionProblems, productionWarnings, proxyProblem } from './config-production.js'
import {
  base,
  bearerToken,
  cidr,
  deepFreeze,
  duration,
  flag,
  headerValue,
  integer,
  line,
  listOf,
  mailbox,
  mailServer,
  oneOf,
  origins,
  persistedOperations,
  placeDatabase,
  redisUrls,
  secrets,
  text,
  url,
} from './config-values.js'
import { parseDetectionRules } from './detection-rules.js'
import { defaultRateLimits, parseRateLimits } from './rate-limits.js'

/** Every setting that the server reads, with its default. The reference is docs/configuration.md. */
const schema = z.object({
  NODE_ENV: oneOf('development', 'test', 'production').default('development'),
  HOST: z.string().default('127.0.0.1'),
  PORT: integer(4000, 0, 65535),
  DATA_DIR: z.string().default('.data'),
  DATABASE_URL: url('postgres:', 'postgresql:').optional(),
  DATABASE_POOL_SIZE: integer(10, 2, 1000),
  REDIS_URL: redisUrls.optional(),
  PUBLIC_URL: base.refine((url) => new URL(url).pathname === '/', 'must have no path').optional(),
  FRONTEND_URL: base.optional(),
  PRODUCT_NAME: line(50).default('Portcullis'),
  SMTP_URL: mailServer.optional(),
  MAIL_FROM: mailbox.default('Portcullis <no-reply@localhost>'),
  CORS_ALLOWED_ORIGINS: origins.optional(),
  CSRF_TRUSTED_ORIGINS: origins.optional(),
  TRUSTED_PROXIES: listOf(cidr),
  SECRET_KEY: secrets.optional(),
  JWT_ALGORITHM: oneOf('EdDSA', 'ES256', 'RS256', 'HS256').default('EdDSA'),
  JWT_SIGNING_KEY: secrets.optional(),
  JWT_ISSUER: text.optional(),
  JWT_AUDIENCE: text.optional(),
  KEY_ROTATION_INTERVAL: z.union(
    [z.literal('off'), duration('90d', 3_600_000)],
    'must be off, or a duration such as 90d',
  ),
  ACCESS_TOKEN_LIFETIME: duration('15m'),
  REFRESH_TOKEN_LIFETIME: duration('7d'),
  REMEMBER_ME_LIFETIME: duration('14d'),
  SESSION_IDLE_TIMEOUT: duration('7d'),
  REFRESH_GRACE_PERIOD: duration('30s', 0),
  REQUIRE_VERIFIED_EMAIL: flag.default('true'),
  EMAIL_VERIFICATION_LIFETIME: duration('24h'),
  PASSWORD_RESET_LIFETIME: duration('10m'),
  EXCHANGE_TOKEN_LIFETIME: duration('60s'),
  PASSWORD_MIN_LENGTH: integer(12, 8, 128),
  PASSWORD_MAX_LENGTH: integer(128, 64, 1024),
  PASSWORD_MIN_SCORE: integer(3, 0, 4),
  PASSWORD_REQUIRED_CLASSES: listOf(oneOf('upper', 'lower', 'digit', 'symbol')),
  PASSWORD_HISTORY: integer(5, 0, 50),
  PASSWORD_HASH_MEMORY_KIB: integer(19456, 8, 4_194_304),
  PASSWORD_HASH_ITERATIONS: integer(2, 1, 100),
  PASSWORD_HASH_PARALLELISM: integer(1, 1, 16),
  BREACH_CHECK_URL: z
    .union([z.literal('off'), url('http:', 'https:')], 'must be off, or an http or https URL')
    .default('https://api.pwnedpasswords.com/range/'),
  LOCKOUT_THRESHOLD: integer(5, 1, 1000),
  LOCKOUT_DURATION: duration('30m'),
  RATE_LIMITS: z.string().optional(),
  DETECTION_RULES: z.string().optional(),
  ACCESS_TOKEN_COOKIE: flag.default('false'),
  MAX_CONCURRENT_SESSIONS: integer(50, 1, 10_000),
  AUDIT_RETENTION: duration('365d', 86_400_000),
  AUDIT_CHECKPOINT_EVENTS: integer(1000, 10, 1_000_000),
  AUDIT_CHECKPOINT_INTERVAL: duration('10m', 60_000),
  GEOIP_DATABASE: placeDatabase.optional(),
  MAX_IN_FLIGHT: integer(1000, 1, 1_000_000),
  MAX_BODY_BYTES: integer(102_400, 1024, 100_000_000),
  MAX_UNREAD_BYTES: integer(134_217_728, 1_048_576, 100_000_000_000),
  MAX_QUERY_TOKENS: integer(1500, 100, 100_000),
  MAX_QUERY_DEPTH: integer(10, 1, 1000),
  MAX_QUERY_ALIASES: integer(30, 0, 10_000),
  MAX_QUERY_ROOT_FIELDS: integer(20, 1, 10_000),
  MAX_QUERY_DIRECTIVES: integer(20, 0, 10_000),
  MAX_OPERATIONS_PER_SOCKET: integer(50, 1, 1_000_000),
  MAX_SOCKETS_PER_ADDRESS: integer(200, 1, 1_000_000),
  MAX_SUBSCRIPTIONS_PER_ADDRESS: integer(500, 1, 1_000_000),
  MAX_SUBSCRIPTIONS_PER_USER: integer(50, 1, 1_000_000),
  OPERATION_TIMEOUT: duration('15s', 100, '1h'),
  REQUEST_TIMEOUT: duration('15s', 100, '1h'),
  SHUTDOWN_DELAY: duration('2s', 0, '1h'),
  PERSISTED_OPERATIONS: persistedOperations.optional(),
  HASH_QUEUE_LENGTH: integer(200, 1, 100_000),
  CRON_SECRET: headerValue.optional(),
  METRICS_TOKEN: bearerToken.optional(),
  GRAPHIQL: flag.optional(),
  INTROSPECTION: flag.optional(),
  LOG_LEVEL: oneOf('trace', 'debug', 'info', 'warn', 'error', 'silent').default('info'),
  LOG_FORMAT: oneOf('pretty', 'json').optional(),
})

/**
 * The names of all settings, for the checks that keep the documentation true.
 * @internal
 */
export const SETTINGS = Object.keys(schema.shape)

/** What is wrong with the environment: one line for each problem. */
export class ConfigError extends Error {
  readonly problems: readonly string[]
  constructor(problems: readonly string[]) {
    super(`The configuration is not valid:\n${problems.map((problem) => `  - ${problem}`).join('\n')}`)
    this.problems = problems
  }
}

/** Reads and validates the environment. Throws ConfigError with everything that is wrong with it. */
export function loadConfig(environment: Record<string, string | undefined>) {
  const given = Object.entries(environment).filter(([, value]) => value !== undefined && value !== '')
  const parsed = schema.safeParse(Object.fromEntries(given))
  const issues = (parsed.error?.issues ?? []).map(({ path, message }) => ({ name: String(path[0]), message }))
  const misread = new Set(issues.map(({ name }) => name))
  // What cannot be read counts as not given, so that the rest is looked at as well.
  const env = parsed.data ?? schema.parse(Object.fromEntries(given.filter(([name]) => !misread.has(name))))
  const isProduction = env.NODE_ENV === 'production'
  const rateLimits = parseRateLimits(env.RATE_LIMITS ?? '', defaultRateLimits(isProduction))
  const detection = parseDetectionRules(env.DETECTION_RULES ?? '')
  const problems = [
    ...(isProduction ? productionProblems(env) : []),
    ...rateLimits.problems.map((problem) => `RATE_LIMITS: ${problem}`),
    ...detection.problems.map((problem) => `DETECTION_RULES: ${problem}`),
    ...combinationProblems(env),
  ]
  const all = [
    ...issues.map(({ name, message }) => `${name}: ${message}`),
    ...problems.filter((problem) => !misread.has(problem.split(':', 1)[0] ?? '')),
  ]
  // What is wrong with several things of a list is said once.
  if (all.length > 0) throw new ConfigError([...new Set(all)])

  return deepFreeze({
    isProduction,
    warnings: [...(isProduction ? productionWarnings(env) : []), proxyProblem(env)].filter((text) => text !== null),
    host: env.HOST,
    port: env.PORT,
    dataDir: env.DATA_DIR,
    /** Undefined until the server listens on a port of the system's choice. */
    urls: { public: env.PUBLIC_URL, frontend: env.FRONTEND_URL },
    database: { url: env.DATABASE_URL, poolSize: env.DATABASE_POOL_SIZE },
    redisUrls: env.REDIS_URL,
    productName: env.PRODUCT_NAME,
    mail: { smtpUrl: env.SMTP_URL, from: env.MAIL_FROM },
    corsOrigins: env.CORS_ALLOWED_ORIGINS,
    csrfOrigins: env.CSRF_TRUSTED_ORIGINS,
    trustedProxies: env.TRUSTED_PROXIES,
    /** Null: none can be seen from here. */
    proxyProblem: proxyProblem(env),
    secretKeys: env.SECRET_KEY,
    jwt: {
      algorithm: env.JWT_ALGORITHM,
      hmacKeys: env.JWT_SIGNING_KEY ?? [],
      issuer: env.JWT_ISSUER,
      audience: env.JWT_AUDIENCE,
      lifetimeMs: env.ACCESS_TOKEN_LIFETIME,
      /** Null: no schedule. */
      rotationMs: env.KEY_ROTATION_INTERVAL === 'off' ? null : env.KEY_ROTATION_INTERVAL,
    },
    accessTokenCookie: env.ACCESS_TOKEN_COOKIE === 'true',
    sessions: {
      lifetimeMs: env.REFRESH_TOKEN_LIFETIME,
      rememberMeLifetimeMs: env.REMEMBER_ME_LIFETIME,
      idleTimeoutMs: env.SESSION_IDLE_TIMEOUT,
      refreshGraceMs: env.REFRESH_GRACE_PERIOD,
      maxConcurrent: env.MAX_CONCURRENT_SESSIONS,
    },
    requireVerifiedEmail: env.REQUIRE_VERIFIED_EMAIL === 'true',
    oneTimeTokens: {
      EMAIL_VERIFICATION: env.EMAIL_VERIFICATION_LIFETIME,
      PASSWORD_RESET: env.PASSWORD_RESET_LIFETIME,
      EXCHANGE: env.EXCHANGE_TOKEN_LIFETIME,
    },
    passwords: {
      minLength: env.PASSWORD_MIN_LENGTH,
      maxLength: env.PASSWORD_MAX_LENGTH,
      minScore: env.PASSWORD_MIN_SCORE,
      requiredClasses: env.PASSWORD_REQUIRED_CLASSES,
      history: env.PASSWORD_HISTORY,
      breachCheckUrl: env.BREACH_CHECK_URL === 'off' ? null : env.BREACH_CHECK_URL,
    },
    hashing: {
      memoryKib: env.PASSWORD_HASH_MEMORY_KIB,
      iterations: env.PASSWORD_HASH_ITERATIONS,
      parallelism: env.PASSWORD_HASH_PARALLELISM,
      queueLength: env.HASH_QUEUE_LENGTH,
    },
    lockout: { threshold: env.LOCKOUT_THRESHOLD, durationMs: env.LOCKOUT_DURATION },
    /** Null: no limits. */
    rateLimits: rateLimits.limits,
    /** The rules that are on. */
    detection: detection.thresholds,
    audit: {
      retentionMs: env.AUDIT_RETENTION,
      checkpointEvents: env.AUDIT_CHECKPOINT_EVENTS,
      checkpointMs: env.AUDIT_CHECKPOINT_INTERVAL,
    },
    geoipDatabase: env.GEOIP_DATABASE,
    maxInFlight: env.MAX_IN_FLIGHT,
    limits: {
      bodyBytes: env.MAX_BODY_BYTES,
      unreadBytes: env.MAX_UNREAD_BYTES,
      tokens: env.MAX_QUERY_TOKENS,
      depth: env.MAX_QUERY_DEPTH,
      aliases: env.MAX_QUERY_ALIASES,
      rootFields: env.MAX_QUERY_ROOT_FIELDS,
      directives: env.MAX_QUERY_DIRECTIVES,
      operationsPerSocket: env.MAX_OPERATIONS_PER_SOCKET,
      socketsPerAddress: env.MAX_SOCKETS_PER_ADDRESS,
      subscriptionsPerAddress: env.MAX_SUBSCRIPTIONS_PER_ADDRESS,
      subscriptionsPerUser: env.MAX_SUBSCRIPTIONS_PER_USER,
      operationMs: env.OPERATION_TIMEOUT,
      requestMs: env.REQUEST_TIMEOUT,
      shutdownDelayMs: env.SHUTDOWN_DELAY,
    },
    /** Undefined: any document may be sent. */
    persistedOperations: env.PERSISTED_OPERATIONS,
    cronSecret: env.CRON_SECRET,
    metricsToken: env.METRICS_TOKEN,
    graphiql: env.GRAPHIQL ? env.GRAPHIQL === 'true' : !isProduction,
    introspection: env.INTROSPECTION ? env.INTROSPECTION === 'true' : !isProduction,
    log: { level: env.LOG_LEVEL, format: env.LOG_FORMAT ?? (isProduction ? 'json' : 'pretty') },
  } as const)
}

export type Config = ReturnType<typeof loadConfig>

/** What every server of the tests starts with: quick hashes, no limits, nobody else's services. */
export const TEST_ENVIRONMENT: Readonly<Record<string, string>> = {
  NODE_ENV: 'test',
  PORT: '0',
  SECRET_KEY: 'the-tests-share-one-key-and-it-is-no-secret',
  PASSWORD_HASH_MEMORY_KIB: '1024',
  PASSWORD_HASH_ITERATIONS: '1',
  BREACH_CHECK_URL: 'off',
  SHUTDOWN_DELAY: '0s',
  // Each connection is a process of PostgreSQL, and hundreds of servers come and go.
  DATABASE_POOL_SIZE: '6',
  // A window that no test gives: calls of servers that share a Redis would else count for those of a smaller limit.
  RATE_LIMITS: '*=100000/59s',
  // Tests do what nobody should; those of the detection turn it on.
  DETECTION_RULES: 'off',
  // So that a test says by x-forwarded-for where a request comes from.
  TRUSTED_PROXIES: '127.0.0.1',
}

/** The URL of another database on the same server. */
export function databaseUrl(serverUrl: string, name: string): string {
  const url = new URL(serverUrl)
  url.pathname = `/${name}`
  return url.href
}

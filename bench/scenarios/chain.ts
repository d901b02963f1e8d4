import { execFile } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { createLog } from '../../src/infra/log.js'
import { applyMigrations } from '../../src/infra/migrate.js'
import type { Row } from '../report.js'
import { onCleanup } from '../support/cleanup.js'
import { SECRET_KEY } from '../support/environment.js'
import type { Options } from '../support/options.js'
import { ROOT } from '../support/processes.js'
import { createDatabase } from '../support/storage.js'

const MIGRATIONS = fileURLToPath(new URL('../../prisma/migrations', import.meta.url))
const EVENTS = 1_000_000
const QUICK_EVENTS = 20_000
const BATCH = 10_000

/** Events of a thousand users, as sign-ins and refreshes make them. */
const ADD = `
  INSERT INTO audit_inbox (type, occurred_at, success, risk_level, user_id, session_id, ip_address, user_agent, city, country,
                           correlation_id, metadata)
  SELECT (ARRAY['TOKEN_REFRESHED', 'LOGIN_SUCCEEDED', 'LOGIN_FAILED'])[1 + i % 3]::audit_event_type, now(), i % 3 < 2,
         (ARRAY['LOW', 'LOW', 'MEDIUM'])[1 + i % 3]::risk_level, md5((i % 1000)::text)::uuid, md5((i % 5000)::text)::uuid,
         '198.51.100.' || i % 250, 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0', 'Vienna', 'AT',
         gen_random_uuid()::text, jsonb_build_object('reason', 'r' || i % 7)
  FROM generate_series(1, $1::int) AS i`

/** One bit of one byte, in each kind of column; done twice, it undoes itself. */
const FLIPS: Readonly<Record<string, string>> = {
  'the hash': 'hash = set_byte(hash, 17, get_byte(hash, 17) # 1)',
  'the commitment': 'commitment = set_byte(commitment, 5, get_byte(commitment, 5) # 4)',
  'the salt': 'salt = set_byte(salt, 3, get_byte(salt, 3) # 128)',
  'the user agent': 'user_agent = overlay(user_agent placing chr(ascii(substr(user_agent, 9, 1)) # 1) from 9 for 1)',
  'the address': 'ip_address = overlay(ip_address placing chr(ascii(substr(ip_address, 1, 1)) # 1) from 1 for 1)',
  'the request id':
    'correlation_id = overlay(correlation_id placing chr(ascii(substr(correlation_id, 20, 1)) # 1) from 20 for 1)',
  success: 'success = NOT success',
}

interface Verdict {
  isIntact: boolean
  events: number
  broken: { position: string; reason: string } | null
}

/** `audit verify`, as an operator runs it. It ends with 1 when the log is broken, and says so all the same. */
function verify(databaseUrl: string): Promise<{ verdict: Verdict; seconds: number }> {
  const env = { PATH: process.env.PATH, DATABASE_URL: databaseUrl, SECRET_KEY }
  const startedAt = performance.now()
  return new Promise((resolve, reject) => {
    const args = ['dist/cli.js', 'audit', 'verify', '--json']
    const child = execFile(process.execPath, args, { cwd: ROOT, env }, (error, stdout, stderr) => {
      if (!stdout) return reject(error ?? new Error(stderr))
      resolve({ verdict: JSON.parse(stdout), seconds: (performance.now() - startedAt) / 1000 })
    })
    onCleanup(() => child.kill())
  })
}

async function sealEvents(client: pg.Client, count: number): Promise<number> {
  let seconds = 0
  for (let sealed = 0; sealed < count; sealed += BATCH) {
    await client.query(ADD, [BATCH])
    const startedAt = performance.now()
    for (let done = 0; done < BATCH; ) {
      const { rows } = await client.query<{ sealed: number }>('SELECT seal_audit_events(1000) AS sealed')
      done += rows[0]?.sealed ?? Number.NaN
    }
    seconds += (performance.now() - startedAt) / 1000
  }
  return seconds
}

/** Whether `audit verify` finds any flipped bit in a log of a million events, and how long it looks. */
export async function measureChain({ only, isQuick }: Options): Promise<Row[]> {
  if (!only.has('chain')) return []
  const count = isQuick ? QUICK_EVENTS : EVENTS
  const url = await createDatabase(process.env.BENCH_DATABASE_URL ?? 'postgresql://postgres@127.0.0.1:5432/postgres')
  await applyMigrations({ url, directory: MIGRATIONS, log: createLog({ level: 'warn', format: 'json' }) })
  const client = new pg.Client({ connectionString: url })
  onCleanup(() => client.end())
  await client.connect()
  const sealing = await sealEvents(client, count)
  await client.query('VACUUM ANALYZE audit_events')
  const { verdict, seconds } = await verify(url)
  const isWhole = verdict.isIntact && verdict.events === count
  const rows: Row[] = [
    { name: 'sealing', value: (sealing / count) * 1_000_000, unit: 'us', note: `for each of ${count} events` },
    { name: 'verifying them', value: seconds, unit: 's', target: { text: 'intact', isMet: isWhole } },
  ]
  // Past the trigger, as the owner of the database can.
  await client.query('SET session_replication_role = replica')
  for (const [what, change] of Object.entries(FLIPS)) {
    const position = randomInt(1, count + 1)
    const flip = () => client.query(`UPDATE audit_events SET ${change} WHERE position = $1`, [position])
    await flip()
    const found = await verify(url)
    await flip()
    rows.push({
      name: `finding one bit of ${what}`,
      value: found.seconds,
      unit: 's',
      target: { text: `at ${position}`, isMet: found.verdict.broken?.position === String(position) },
      note: `${found.verdict.broken?.reason ?? 'not found'} at ${found.verdict.broken?.position ?? 'no position'}`,
    })
  }
  return rows
}

import { createRequire } from 'node:module'
import pg from 'pg'
import { logIn, loginBody, type Tokens } from './api.js'
import { toWire } from './http-connection.js'

export const PASSWORD = 'correct horse battery staple 42'
const USERS = 64
const CHAINS = 16
const LOGINS = 512
const AUDITOR = 'auditor@bench.test'
const ARGON2ID = 2
const LOGINS_AT_ONCE = 8
const OTHER_SESSIONS = 4

const require = createRequire(import.meta.url)

function hashPassword(): Promise<string> | string {
  try {
    return require('@node-rs/argon2').hash(PASSWORD, {
      algorithm: ARGON2ID,
      memoryCost: 19456,
      timeCost: 2,
      parallelism: 1,
    })
  } catch {
    return require('argon2').hash(PASSWORD, { type: ARGON2ID, memoryCost: 19456, timeCost: 2, parallelism: 1 })
  }
}

const emails = (kind: string, count: number) =>
  Array.from({ length: count }, (_, index) => `${kind}${index}@bench.test`)

const INSERT_USERS = `
  INSERT INTO users (id, email, email_normalized, username, username_normalized, password_hash, password_changed_at,
                     email_verified_at, terms_accepted_at, privacy_accepted_at)
  SELECT gen_random_uuid(), email, email, split_part(email, '@', 1), split_part(email, '@', 1), $2::text, now(), now(), now(), now()
  FROM unnest($1::text[]) AS email`

/** Sessions on other devices: copies of the one that each user has, a minute older each. */
const INSERT_SESSIONS = `
  INSERT INTO sessions (id, user_id, device_name, device_type, browser, os, user_agent, device_fingerprint, ip_address,
                        remember_me, amr, expires_at, created_at, last_activity_at)
  SELECT gen_random_uuid(), s.user_id, 'Device ' || n, s.device_type, s.browser, s.os, s.user_agent, s.device_fingerprint,
         s.ip_address, s.remember_me, s.amr, s.expires_at, s.created_at - n * interval '1 minute',
         s.last_activity_at - n * interval '1 minute'
  FROM sessions s JOIN users u ON u.id = s.user_id, generate_series(1, $2::int) AS n
  WHERE u.email = ANY($1::text[])`

export interface Accounts {
  passwordHash: string
  /** Access tokens of users with five sessions each. */
  accessTokens: string[]
  /** Refresh tokens, each of a user of its own. */
  refreshTokens: string[]
  /** Logins of distinct users, as they go over the wire. */
  loginWires: string[]
  /** The access token of one who may read everybody's audit log. */
  auditor: string
}

async function logInAll(origin: string, identifiers: readonly string[]): Promise<Tokens[]> {
  const tokens: Tokens[] = []
  for (let first = 0; first < identifiers.length; first += LOGINS_AT_ONCE) {
    const group = identifiers.slice(first, first + LOGINS_AT_ONCE)
    tokens.push(...(await Promise.all(group.map((identifier) => logIn(origin, identifier, PASSWORD)))))
  }
  return tokens
}

/** Puts accounts straight into the database, all with one password, and signs them in through the API. */
export async function createAccounts(databaseUrl: string, origin: string): Promise<Accounts> {
  const { port } = new URL(origin)
  const passwordHash = await hashPassword()
  const [users, chains, logins] = [emails('user', USERS), emails('chain', CHAINS), emails('login', LOGINS)]
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  try {
    await client.query(INSERT_USERS, [[...users, ...chains, ...logins, AUDITOR], passwordHash])
    await client.query(`UPDATE users SET granted_permissions = '{audit:read}' WHERE email = $1`, [AUDITOR])
    const tokens = await logInAll(origin, [...users, ...chains, AUDITOR])
    await client.query(INSERT_SESSIONS, [users, OTHER_SESSIONS])
    // As a database that has been running for a while: the planner knows its tables.
    await client.query('ANALYZE')
    return {
      passwordHash,
      accessTokens: tokens.slice(0, USERS).map((each) => each.accessToken),
      refreshTokens: tokens.slice(USERS, USERS + CHAINS).map((each) => each.refreshToken),
      loginWires: logins.map((email) => toWire(Number(port), loginBody(email, PASSWORD))),
      auditor: tokens.at(-1)?.accessToken ?? '',
    }
  } finally {
    await client.end()
  }
}

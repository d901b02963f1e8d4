import DataLoader from 'dataloader'
import { LRUCache } from 'lru-cache'
import type { AuditEventType } from '../audit-events.js'
import type { Session, User } from '../generated/prisma/client.js'
import type { Cache, Sql } from '../ports.js'
import type { Feed } from './feed.js'

/** An account as requests see it: without its password hash, with the permissions of its role. */
export type UserRecord = Omit<User, NotForRequests> & { permissions: string[] }
type NotForRequests =
  | ('passwordHash' | 'emailNormalized' | 'usernameNormalized' | 'isContested' | 'registeredFrom')
  | ('termsAcceptedAt' | 'privacyAcceptedAt' | 'grantedPermissions' | 'updatedAt')
export type SessionRecord = Session
type CachedRecord = UserRecord | SessionRecord

/** The columns of a UserRecord; `u` is the alias of the table. */
export const USER_COLUMNS = `
  u.id, u.email, u.username, u.first_name AS "firstName", u.last_name AS "lastName", u.display_name AS "displayName",
  u.locale, u.timezone, u.password_changed_at AS "passwordChangedAt", u.email_verified_at AS "emailVerifiedAt",
  u.pending_until AS "pendingUntil", u.last_login_at AS "lastLoginAt", u.is_active AS "isActive", u.role AS "roleName",
  u.created_at AS "createdAt",
  ARRAY(SELECT "A" FROM _role_permissions WHERE "B" = u.role UNION SELECT unnest(u.granted_permissions)) AS permissions`

/** The columns of a SessionRecord; `s` is the alias of the table. */
export const SESSION_COLUMNS = `
  s.id, s.user_id AS "userId", s.device_name AS "deviceName", s.device_type AS "deviceType", s.browser, s.os,
  s.user_agent AS "userAgent", s.device_fingerprint AS "deviceFingerprint", s.ip_address AS "ipAddress", s.city,
  s.country, s.remember_me AS "rememberMe", s.amr, s.second_factor_at AS "secondFactorAt", s.created_at AS "createdAt",
  s.last_activity_at AS "lastActivityAt", s.last_rotation_at AS "lastRotationAt", s.expires_at AS "expiresAt",
  s.ended_at AS "endedAt", s.end_reason AS "endReason"`

const USERS = `SELECT ${USER_COLUMNS} FROM users u WHERE u.id = ANY($1::uuid[])`
const SESSIONS = `SELECT ${SESSION_COLUMNS} FROM sessions s WHERE s.id = ANY($1::uuid[])`

/** Seconds that a record may stay in the cache. Writes invalidate it at once; this only bounds what is forgotten. */
const USER_TTL_SECONDS = 3600
const SESSION_TTL_SECONDS = 60

interface Source<T> {
  prefix: string
  query: string
  ttlSeconds: number
  dates: readonly (keyof T & string)[]
}

const users: Source<UserRecord> = {
  prefix: 'user:',
  query: USERS,
  ttlSeconds: USER_TTL_SECONDS,
  dates: ['passwordChangedAt', 'emailVerifiedAt', 'pendingUntil', 'lastLoginAt', 'createdAt'],
}
const sessions: Source<SessionRecord> = {
  prefix: 'session:',
  query: SESSIONS,
  ttlSeconds: SESSION_TTL_SECONDS,
  dates: ['secondFactorAt', 'createdAt', 'lastActivityAt', 'lastRotationAt', 'expiresAt', 'endedAt'],
}

/** Turns the times of a record that came as JSON back into dates. */
function revive<T>(source: Source<T>, record: T): T {
  for (const name of source.dates) {
    if (record[name] !== null) record[name] = new Date(record[name] as unknown as string) as T[typeof name]
  }
  return record
}

const DECODED_TEXTS = 1000
/** What cached texts say. The text is asked for on every request all the same: this only saves reading it again. */
const decoded = new LRUCache<string, { text: string; record: CachedRecord }>({ max: DECODED_TEXTS })

function decode<T extends CachedRecord>(source: Source<T>, key: string, text: string): T {
  const known = decoded.get(key)
  if (known?.text === text) return known.record as T
  const record: T = Object.freeze(revive(source, JSON.parse(text) as T))
  decoded.set(key, { text, record })
  return record
}

/** Cache first, with one command for all keys; then one query for each kind of record that it does not know. */
async function load(cache: Cache, sql: Sql, keys: readonly string[]): Promise<(CachedRecord | null)[]> {
  const found = new Map<string, CachedRecord>()
  const cached = await cache.read(keys)
  const fetch = async <T extends CachedRecord>(source: Source<T>) => {
    const missing: string[] = []
    keys.forEach((key, index) => {
      if (!key.startsWith(source.prefix)) return
      const text = cached[index]
      if (text) found.set(key, decode(source, key, text))
      else missing.push(key.slice(source.prefix.length))
    })
    if (missing.length === 0) return
    const rows = await sql<T>(source.query, [missing])
    const entries = rows.map((row) => ({ key: source.prefix + row.id, value: JSON.stringify(row) }))
    for (const row of rows) found.set(source.prefix + row.id, row)
    if (entries.length > 0) void cache.fill(entries, source.ttlSeconds)
  }
  await Promise.all([fetch(users), fetch(sessions)])
  return keys.map((key) => found.get(key) ?? null)
}

/** Records by id. What is asked for in one tick, of either kind, is read together. */
export interface Loaders {
  user: { load(id: string): Promise<UserRecord | null> }
  session: { load(id: string): Promise<SessionRecord | null> }
}

/** User and session records, read through DataLoader, cache and database, each in batches. */
export function createRecords({ cache, sql }: { cache: Cache; sql: Sql }) {
  return {
    /** Loaders for one request: a record is loaded once, and stays what it was, for as long as they live. */
    forRequest(): Loaders {
      const loader = new DataLoader<string, CachedRecord | null>((keys) => load(cache, sql, keys))
      return {
        user: { load: (id) => loader.load(users.prefix + id) as Promise<UserRecord | null> },
        session: { load: (id) => loader.load(sessions.prefix + id) as Promise<SessionRecord | null> },
      }
    },
    reviveUser: (record: UserRecord) => revive(users, record),
    reviveSession: (record: SessionRecord) => revive(sessions, record),
    /** Straight from the database. */
    freshUser: async (id: string, on: Sql = sql): Promise<UserRecord | null> =>
      (await on<UserRecord>(USERS, [[id]]))[0] ?? null,
    freshSession: async (id: string, on: Sql = sql): Promise<SessionRecord | null> =>
      (await on<SessionRecord>(SESSIONS, [[id]]))[0] ?? null,
    /** Call after the commit of every write to these records. */
    forget: ({ userIds = [], sessionIds = [] }: { userIds?: readonly string[]; sessionIds?: readonly string[] }) =>
      cache.invalidate([...userIds.map((id) => users.prefix + id), ...sessionIds.map((id) => sessions.prefix + id)]),
  }
}

export type Records = ReturnType<typeof createRecords>

/** Events after which a cached record is out of date. */
const CHANGES: ReadonlySet<AuditEventType> = new Set<AuditEventType>([
  'EMAIL_VERIFIED',
  'LOGGED_OUT',
  'PASSWORD_CHANGED',
  'PASSWORD_RESET_COMPLETED',
  'PROFILE_UPDATED',
  'SESSION_TERMINATED',
])

/** Invalidates once more from the audit log: a process may be killed between its commit and its own invalidation. */
export function forgetFromLog(feed: Feed, records: Records): void {
  feed.onEvent(({ type, userId, sessionId }) => {
    if (CHANGES.has(type))
      void records.forget({ userIds: userId ? [userId] : [], sessionIds: sessionId ? [sessionId] : [] })
  })
}

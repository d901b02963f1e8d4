import { NIL } from 'uuid'
import { AccountLockedError, DomainError, EmailNotVerifiedError, InvalidCredentialsError } from '../errors.js'
import { normalizeIdentifier } from '../identifiers.js'
import type { Clock, Hashing, PasswordHasher } from '../ports.js'
import type { AccessTokens, Authentication } from './access-tokens.js'
import type { Audit, AuditEntry } from './audit.js'
import { type Client, describeDevice, originOf } from './client.js'
import type { Database, Transaction } from './database.js'
import type { Devices } from './devices.js'
import type { MailQuotas } from './mail-quotas.js'
import type { Mails } from './mails.js'
import type { Refresh } from './refresh.js'
import type { Sessions } from './sessions.js'
import { counted, type Throttle } from './throttle.js'
import { createTurns } from './turns.js'

interface Deps {
  db: Database
  clock: Clock
  audit: Audit
  sessions: Sessions
  refresh: Refresh
  accessTokens: AccessTokens
  throttle: Throttle
  devices: Devices
  mails: Mails
  quotas: MailQuotas
  hasher: PasswordHasher
}

export interface Credentials {
  identifier: string
  password: string
  rememberMe: boolean
  deviceName: string | null
  deviceCookie: string | null
  /** The refresh token of the session whose place the new one takes. */
  leaving: string | null
}
/** Credentials, and where their password is hashed. */
type Attempt = Credentials & { hashing: Hashing }

/** What the login of an account depends on. */
interface Candidate {
  id: string
  passwordHash: string
  passwordChangedAt: Date
  isActive: boolean
  hasLoggedIn: boolean
  isKnownDevice: boolean
}
/** The latest registration that waits for its verification, whether or not the address has an account as well. */
interface Waiting {
  id: string
  passwordHash: string
}
/** An id is NIL where there is no such account, or no such registration. */
interface Row extends Candidate {
  waitingId: string
  waitingHash: string
  /** What the identifier counts against where it has no account. */
  unknownKey: string
  lockedUntil: Date | null
  deviceLockedUntil: Date | null
}
interface Found {
  account: Candidate | null
  waiting: Waiting | null
  /** What its failures count against: the known device, else the account, else the identifier. */
  throttleKey: string
  lockedUntil: Date | null
}

// No more than a refusal needs: what is read of an account, time tells to who guesses. Where there is none, NIL stands in
// (RFC 9562 section 5.9), with a hash that nothing fits, so that as much is looked for and answered.
// A registration that waits for its verification owns nothing: it has no throttle of its own either, or registering
// would lift the lock of an address that is free, and only of one that is. Those without a password came with a mail.
const find = (column: 'email_normalized' | 'username_normalized', throttle: 'user:' | 'username:') => `
  WITH account AS (
    SELECT u.id, u.password_hash AS "passwordHash", u.password_changed_at AS "passwordChangedAt",
           u.is_active AS "isActive", u.last_login_at IS NOT NULL AS "hasLoggedIn"
    FROM users u WHERE u.${column} = $1::text AND u.pending_until IS NULL
    UNION ALL SELECT '${NIL}', $6::text, $4::timestamptz, true, false
    ORDER BY id DESC LIMIT 1
  ), waiting AS (
    SELECT * FROM (
      SELECT u.id AS "waitingId", u.password_hash AS "waitingHash" FROM users u
      WHERE u.${column} = $1::text AND u.pending_until IS NOT NULL
        AND EXISTS (SELECT FROM password_history h WHERE h.user_id = u.id)
      ORDER BY u.created_at DESC LIMIT 1
    ) AS latest
    UNION ALL SELECT '${NIL}', $6::text
    ORDER BY "waitingId" DESC LIMIT 1
  )
  SELECT account.*, waiting.*, coalesce(throttle.key, split_part($2::text, ',', 1)) AS "unknownKey",
         throttle.locked_until AS "lockedUntil", device.locked_until AS "deviceLockedUntil",
         EXISTS (SELECT FROM sessions WHERE user_id = account.id AND device_fingerprint = $3::text) AS "isKnownDevice"
  FROM account CROSS JOIN waiting
  LEFT JOIN LATERAL (
    ${counted(`CASE account.id WHEN '${NIL}' THEN $2::text ELSE '${throttle}' || account.id END`, '$4')}) throttle ON true
  LEFT JOIN login_throttles device
    ON device.key = 'device:' || $5::text || ':' || account.id AND device.locked_until > $4::timestamptz`
const BY_EMAIL = find('email_normalized', 'user:')
const BY_USERNAME = find('username_normalized', 'username:')

/** Private reasons of a refusal: they stand in the audit log, never in an answer. */
type Refusal = 'UNKNOWN_ACCOUNT' | 'WRONG_PASSWORD' | 'DEACTIVATED' | 'LOCKED' | 'EMAIL_NOT_VERIFIED' | 'OVERTAKEN'

export function createLogin(deps: Deps) {
  const { db, clock, audit, sessions, refresh, accessTokens, throttle, devices, mails, quotas, hasher } = deps
  const inTurn = createTurns(hasher.share)

  async function locate(client: Client, { identifier, deviceCookie }: Credentials): Promise<Found> {
    const key = normalizeIdentifier(identifier)
    const device = devices.read(deviceCookie)
    const isEmail = key.includes('@')
    const [row] = await db.sql<Row>(isEmail ? BY_EMAIL : BY_USERNAME, [
      key,
      throttle.keysOfUnknown(identifier),
      describeDevice(client.userAgent).fingerprint,
      clock.now(),
      device?.id ?? null,
      hasher.unusable,
    ])
    if (!row) throw new Error('The look-up of an identifier has always one row')
    const { waitingId, waitingHash, unknownKey, lockedUntil, deviceLockedUntil, ...account } = row
    const waiting = waitingId !== NIL ? { id: waitingId, passwordHash: waitingHash } : null
    if (account.id === NIL) return { account: null, waiting, throttleKey: unknownKey, lockedUntil }
    if (!device || !devices.isKnown(device, account)) {
      return { account, waiting, throttleKey: throttle.keyOfAccount(account.id, isEmail), lockedUntil }
    }
    account.isKnownDevice = true
    const throttleKey = throttle.keyOfDevice(device.id, account.id)
    return { account, waiting, throttleKey, lockedUntil: deviceLockedUntil }
  }

  const failure = ({ account, waiting }: Found, reason: Refusal): AuditEntry => ({
    type: 'LOGIN_FAILED',
    userId: account?.id ?? waiting?.id ?? null,
    metadata: { reason },
  })

  /** Counts the failure, and refuses. */
  async function reject(client: Client, found: Found, reason: Refusal): Promise<never> {
    const lockedUntil = await db.transaction(async (tx) => {
      await audit.record(tx, client, failure(found, reason))
      return throttle.countFailure(tx, client, found.throttleKey, found.account?.id ?? null)
    })
    if (lockedUntil) throw new AccountLockedError(lockedUntil, clock.now())
    throw reason === 'EMAIL_NOT_VERIFIED' ? new EmailNotVerifiedError() : new InvalidCredentialsError()
  }

  async function isPasswordOf(owner: Waiting | null, { hashing, password }: Attempt): Promise<boolean> {
    const isMatch = await hashing.verify(owner?.passwordHash ?? hasher.unusable, password)
    return isMatch && owner !== null
  }

  /**
   * Why the password is refused, after a second check whatever the first one has found: a refusal takes two, for every
   * identifier. The password of a registration that waits is a failure like any other, even though it is told: it may be
   * a guess at the password of an account with the same address.
   */
  async function refusalOf({ account, waiting }: Found, attempt: Attempt, isMatch: boolean): Promise<Refusal> {
    if (await isPasswordOf(waiting, attempt)) return 'EMAIL_NOT_VERIFIED'
    if (isMatch) return 'DEACTIVATED'
    return account || waiting ? 'WRONG_PASSWORD' : 'UNKNOWN_ACCOUNT'
  }

  /** Stores another hash of the same password: also in the history, where it would else count as two. */
  async function renew(tx: Transaction, { id, passwordHash }: Candidate, rehashed: string): Promise<void> {
    const data = { passwordHash: rehashed }
    await tx.prisma.user.update({ where: { id }, data })
    await tx.prisma.passwordHistory.updateMany({ where: { userId: id, passwordHash }, data })
  }

  async function succeed(
    client: Client,
    account: Candidate,
    throttleKey: string,
    input: Attempt,
  ): Promise<Authentication> {
    await accessTokens.assertSigner()
    const rehashed = hasher.needsRehash(account.passwordHash) ? await input.hashing.hash(input.password) : null
    const isNewDevice = account.hasLoggedIn && !account.isKnownDevice
    const device = describeDevice(client.userAgent)
    const events: AuditEntry[] = [{ type: 'LOGIN_SUCCEEDED', metadata: { method: 'password' } }]
    if (isNewDevice) events.push({ type: 'NEW_DEVICE', metadata: { device: device.name } })
    const open = async (tx: Transaction) => {
      // First, so that it makes room for the new one, and stays if that is refused.
      if (input.leaving) {
        await refresh.lockToLeave(tx, account.id, input.leaving)
        await refresh.leave(tx, client, input.leaving)
      }
      const opened = await sessions.open(tx, client, {
        userId: account.id,
        deviceName: input.deviceName,
        rememberMe: input.rememberMe,
        amr: ['pwd'],
        events,
        guard: { passwordHash: account.passwordHash, throttleKey },
      })
      if (rehashed) await renew(tx, account, rehashed)
      if (isNewDevice && (await quotas.allow(tx, client, opened.user, 'new-device')))
        await mails.send(tx, opened.user, 'new-device', originOf(client, clock.now()))
      return opened
    }
    // Nearly every login is one statement; only what happens seldom needs a transaction around it.
    const opened = await (rehashed || isNewDevice || input.leaving ? db.transaction(open) : open(db))
    return accessTokens.issue(opened.user, opened.session, opened.refreshToken)
  }

  async function judge(client: Client, input: Attempt, found: Found, isRetry = false): Promise<Authentication> {
    const { account, throttleKey, lockedUntil } = found
    if (lockedUntil) {
      await audit.record(db, client, failure(found, 'LOCKED'))
      throw new AccountLockedError(lockedUntil, clock.now())
    }
    const isMatch = await isPasswordOf(account, input)
    if (!isMatch || !account?.isActive) {
      return reject(client, found, await refusalOf(found, input, isMatch))
    }
    try {
      return await succeed(client, account, throttleKey, input)
    } catch (error) {
      // Another sign-in may have stored the same password with today's parameters.
      const isRehashed = error instanceof InvalidCredentialsError && hasher.needsRehash(account.passwordHash)
      if (isRehashed && !isRetry) return judge(client, input, await locate(client, input), true)
      // Locked, deactivated or given another password while this one was being checked.
      if (error instanceof DomainError) await audit.record(db, client, failure(found, 'OVERTAKEN'))
      throw error
    }
  }

  return {
    /**
     * Signs in with a password. Throws AccountLockedError, InvalidCredentialsError (the same for every reason), and, only
     * for the password of a registration that waits, EmailNotVerifiedError, also where the address has an account.
     */
    withPassword: (client: Client, credentials: Credentials): Promise<Authentication> =>
      // Under a flood, the look-ups of those that are refused would take the time of those that wait.
      hasher.inPlace(async (hashing) => {
        const input = { ...credentials, hashing }
        const found = await locate(client, input)
        // One after the other, so that many guesses at once are no more than one at a time: each sees what was counted.
        return inTurn(found.throttleKey, async (hasWaited) =>
          judge(client, input, hasWaited ? await locate(client, input) : found),
        )
      }),
  }
}

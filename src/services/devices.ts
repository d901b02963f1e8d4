import { isDeepStrictEqual } from 'node:util'
import { v7 as uuid } from 'uuid'
import type { KeyRing } from '../crypto/key-ring.js'
import { hmac } from '../crypto/secrets.js'
import { openSigned, signValue } from '../crypto/signed-values.js'
import { normalizeIdentifier } from '../identifiers.js'
import type { Clock } from '../ports.js'
import type { UserRecord } from './records.js'

/**
 * What a device cookie says: the accounts that have signed in there with their password, the latest first, when, and since
 * when that has been the password.
 */
interface KnownDevice {
  id: string
  accounts: readonly (readonly [userId: string, at: number, since: number, ...names: string[]])[]
}

type Account = Pick<UserRecord, 'id' | 'passwordChangedAt'>
type NamedAccount = Account & Pick<UserRecord, 'email' | 'username'>

const DAY_MS = 86_400_000
const LIFETIME_MS = 365 * DAY_MS
/** A cookie that is younger is left as it is. */
const REFRESH_AFTER_MS = 30 * DAY_MS
/** Of one device; so many fit into a cookie of little more than 1 KB. */
const MAX_ACCOUNTS = 8
const NAME_BYTES = 6

/** Stands in a cookie for what an account signs in by. */
const hidden = (key: Buffer, identifier: string) =>
  hmac(key, `identifier:${normalizeIdentifier(identifier)}`)
    .subarray(0, NAME_BYTES)
    .toString('base64url')

/** Devices on which an account has proven its password, by a signed cookie: nothing about them is stored here. */
export function createDevices({ clock, keys }: { clock: Clock; keys: KeyRing }) {
  const read = (cookie: string | null): KnownDevice | null => {
    const text = cookie && openSigned(keys, cookie)
    return text ? (JSON.parse(text) as KnownDevice) : null
  }

  const isRecent = (at: number) => at > clock.now().getTime() - LIFETIME_MS

  /** When the account has last signed in there, unless that is too long ago or was with an earlier password. */
  function seenAt(device: KnownDevice, { id, passwordChangedAt }: Account): number | null {
    // Not when it was compared with: a sign-in may end after a change of the password that has overtaken it.
    const [, at = 0] =
      device.accounts.find(([userId, , since]) => userId === id && since === passwordChangedAt.getTime()) ?? []
    return isRecent(at) ? at : null
  }

  return {
    read,

    isKnown: (device: KnownDevice, account: Account): boolean => seenAt(device, account) !== null,

    /**
     * Names, for limits, all devices where the account of this name has signed in with its present password, if this is one.
     * Whoever has known an earlier one counts like anybody without a cookie: neither with those of today, nor with what else
     * has known the earlier one, which may be the owner's.
     */
    async groupOf(
      cookie: string | null,
      identifier: string,
      accountOf: (id: string) => Promise<Account | null>,
    ): Promise<string | null> {
      const device = read(cookie)
      const names = device ? keys.all.map((key) => hidden(key, identifier)) : []
      const known = device?.accounts.find(
        ([, at, , ...own]) => isRecent(at) && own.some((name) => names.includes(name)),
      )
      if (!known) return null
      const [userId, , since] = known
      const account = await accountOf(userId)
      return account?.passwordChangedAt.getTime() === since ? `devices of ${userId} since ${since}` : null
    },

    /** The cookie for a device where the account has just proven its password; null when the one it has will do. */
    remember(cookie: string | null, account: NamedAccount): { value: string; expiresAt: Date } | null {
      const now = clock.now().getTime()
      const device = read(cookie) ?? { id: uuid(), accounts: [] }
      const names = [account.email, account.username].flatMap((name) => (name ? [hidden(keys.current, name)] : []))
      const since = account.passwordChangedAt.getTime()
      const [, , ...before] = device.accounts.find(([userId]) => userId === account.id) ?? []
      const isNamed = isDeepStrictEqual(before, [since, ...names])
      if (isNamed && (seenAt(device, account) ?? 0) > now - REFRESH_AFTER_MS) return null
      const others = device.accounts.filter(([userId]) => userId !== account.id)
      const accounts = [[account.id, now, since, ...names] as const, ...others].slice(0, MAX_ACCOUNTS)
      const value = signValue(keys, JSON.stringify({ id: device.id, accounts } satisfies KnownDevice))
      return { value, expiresAt: new Date(now + LIFETIME_MS) }
    },
  }
}

export type Devices = ReturnType<typeof createDevices>

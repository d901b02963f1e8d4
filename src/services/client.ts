import Bowser from 'bowser'
import { isbot } from 'isbot'
import { LRUCache } from 'lru-cache'
import { fingerprintOf } from '../crypto/secrets.js'
import { safeName } from '../emails/names.js'
import type { DeviceType } from '../generated/prisma/enums.js'
import type { Place } from '../ports.js'

/** Who is calling, as far as the transport can tell. */
export interface Client {
  ipAddress: string | null
  /** What limits count the address as: an IPv6 address by its /64. */
  addressKey: string
  userAgent: string | null
  /** The x-request-id of the request. */
  correlationId: string
  locate(): Place
}

/** What the server, or its operator, does without a request. */
export const byServer = (correlationId: string): Client => ({
  ipAddress: null,
  addressKey: '',
  userAgent: null,
  correlationId,
  locate: () => ({ city: null, country: null }),
})

export interface Device {
  deviceType: DeviceType
  browser: string | null
  os: string | null
  /** Such as "Firefox on Linux". */
  name: string
  fingerprint: string
}

const TYPES: Readonly<Record<string, DeviceType>> = {
  desktop: 'DESKTOP',
  mobile: 'MOBILE',
  tablet: 'TABLET',
  bot: 'BOT',
}
const MAX_NAME = 40
const WELL_KNOWN: ReadonlySet<string> = new Set(
  [Bowser.BROWSER_MAP, Bowser.OS_MAP].flatMap((names) => Object.values(names)),
)
const known = new LRUCache<string, Device>({ max: 2000 })

function parse(userAgent: string): Device {
  const { browser, os, platform } = userAgent ? Bowser.parse(userAgent) : { browser: {}, os: {}, platform: {} }
  const deviceType = userAgent && isbot(userAgent) ? 'BOT' : (TYPES[platform.type ?? ''] ?? 'UNKNOWN')
  // A user agent that is nobody's may name itself at any length.
  const browserName = browser.name?.slice(0, MAX_NAME) || null
  const osName = os.name?.slice(0, MAX_NAME) || null
  const name = [browserName, osName].filter(Boolean).join(' on ') || 'Unknown device'
  const fingerprint = fingerprintOf(JSON.stringify([deviceType, browserName, osName]))
  return { deviceType, browser: browserName, os: osName, name, fingerprint }
}

/** Reads the user agent. The fingerprint is stable over updates of the browser. */
export function describeDevice(userAgent: string | null): Device {
  const key = userAgent ?? ''
  const found = known.get(key) ?? parse(key)
  known.set(key, found)
  return found
}

/**
 * What a mail to a stranger says about where something was done: a browser or a system that nobody knows is left out,
 * because its name would be the sender's words.
 */
export function plainOriginOf(client: Client, at: Date) {
  const { browser, os } = describeDevice(client.userAgent)
  const deviceName = [browser, os].filter((name) => name !== null && WELL_KNOWN.has(name)).join(' on ') || null
  return { ...originOf(client, at), deviceName }
}

/**
 * What a mail says about where something was done, so that its reader can recognise it. A device that calls itself a link or
 * a code has no name there: whoever knows the password could else write to the owner in our name.
 */
export function originOf(client: Client, at: Date) {
  const { name } = describeDevice(client.userAgent)
  return { deviceName: safeName(name), ipAddress: client.ipAddress, ...client.locate(), at: at.toISOString() }
}

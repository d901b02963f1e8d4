import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { isIP, type Socket } from 'node:net'
import proxyAddr from 'proxy-addr'
import { canonicalAddress } from '../identifiers.js'
import type { GeoLocator, Log, Place } from '../ports.js'
import type { Client } from '../services/client.js'

/** Those of the server's own doings begin otherwise: the audit log believes them, and keeps a hundred letters. */
const REQUEST_ID = /^(?!(audit-erase|cli|job)-)[A-Za-z0-9._:-]{1,100}$/i
const MAX_USER_AGENT = 512
const MAX_CLAIMED = 100
const FROM_A_STRANGER =
  'X-Forwarded-For came from an address that is not in TRUSTED_PROXIES, and was ignored. If that is a proxy of yours, all its clients count as one address'
const NO_ADDRESS =
  'X-Forwarded-For came from a trusted proxy and named what is no address. Whoever comes through it counts as the proxy itself'

/** An address without the port that some proxies forward with it. A plain IPv6 address ends like one, and is left alone. */
const withoutPort = (hop: string) => hop.replace(/^\[([^\]]*)\](?::\d{1,5})?$|^([\d.]+):\d{1,5}$/, '$1$2')

/** The first four groups of an IPv6 address: one customer's network. An IPv4 address is its own. */
function networkOf(address: string): string {
  if (isIP(address) !== 6) return address
  const [head = '', tail] = address.split('::')
  const left = head.split(':').filter(Boolean)
  const right = tail?.split(':').filter(Boolean) ?? []
  const groups =
    tail === undefined ? left : [...left, ...new Array(Math.max(0, 8 - left.length - right.length)).fill('0'), ...right]
  return `${groups.slice(0, 4).join(':')}::/64`
}

type Address = Pick<Client, 'ipAddress' | 'addressKey'>

const addressOf = (ipAddress: string | null): Address => {
  return { ipAddress, addressKey: ipAddress ? networkOf(ipAddress) : 'unknown' }
}

/**
 * Tells who a request comes from. X-Forwarded-For is believed only from the trusted proxies, from the right. The first that
 * comes from anywhere else is logged, and the first that names no address: both make one address of all clients of a proxy.
 */
export function createClientReader(
  trustedProxies: readonly string[],
  geo: GeoLocator,
  log: Log,
): (request: IncomingMessage) => Client {
  const isTrusted = proxyAddr.compile([...trustedProxies])
  const told = new Set<string>()

  function warnOnce(fields: object, message: string): void {
    if (told.has(message)) return
    told.add(message)
    log.warn(fields, message)
  }

  // A connection stays with its peer: only what a proxy forwards changes from request to request.
  const peers = new WeakMap<Socket, Address>()
  function peerOf(socket: Socket): Address {
    const peer = peers.get(socket) ?? addressOf(canonicalAddress(socket.remoteAddress ?? '') || null)
    peers.set(socket, peer)
    return peer
  }

  function senderOf(request: IncomingMessage): Address {
    const peer = peerOf(request.socket)
    if (!request.headers['x-forwarded-for'] || !peer.ipAddress) return peer
    if (!isTrusted(peer.ipAddress, 0)) {
      warnOnce({ peer: peer.ipAddress }, FROM_A_STRANGER)
      return peer
    }
    const claimed = canonicalAddress(
      withoutPort(proxyAddr(request, (hop, index) => isTrusted(withoutPort(hop), index))),
    )
    if (isIP(claimed)) return addressOf(claimed)
    // A trusted proxy may still pass on what is no address.
    warnOnce({ peer: peer.ipAddress, claimed: claimed.slice(0, MAX_CLAIMED) }, NO_ADDRESS)
    return peer
  }

  return (request) => {
    const given = request.headers['x-request-id']
    const { ipAddress, addressKey } = senderOf(request)
    let place: Place | undefined
    return {
      ipAddress,
      addressKey,
      userAgent: request.headers['user-agent']?.slice(0, MAX_USER_AGENT) || null,
      correlationId: typeof given === 'string' && REQUEST_ID.test(given) ? given : randomUUID(),
      locate: () => {
        place ??= ipAddress ? geo.locate(ipAddress) : { city: null, country: null }
        return place
      },
    }
  }
}

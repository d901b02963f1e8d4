// What makes two spellings one account, or one IP address.
import { isIP, SocketAddress } from 'node:net'
import { domainToASCII } from 'node:url'

const GMAIL = new Set(['gmail.com', 'googlemail.com'])

/** Longer than any address or name. Folding takes time that grows with the square of a hostile text. */
const LONGEST = 320
/**
 * As toNFKC_Casefold of Unicode (section 3.13), where a small letter may have a form that its capital has not; but ß and ς are
 * letters of their own, as in domains.
 */
const fold = (text: string): string => text.slice(0, LONGEST).normalize('NFKC').toLowerCase().normalize('NFKC')

/** What Node would cut off a domain, or take for an escape, is none; nor is one with spaces, which limits would count apart. */
const INTERNATIONAL = /^[\p{L}\p{M}\p{N}.。-]+$/u

/** The address as DNS and mail servers know its domain: bücher.example is xn--bcher-kva.example. Any other stays as it is. */
export function withAsciiDomain(email: string): string {
  const start = email.lastIndexOf('@') + 1
  if (/^\p{ASCII}*$/u.test(email.slice(start))) return email
  const domain = fold(email.slice(start))
  const ascii = INTERNATIONAL.test(domain) ? domainToASCII(domain) : ''
  return ascii ? email.slice(0, start) + ascii : email
}

/** The e-mail address as a key: case-insensitive; Gmail's dots, plus-tags and second domain collapse. */
export function normalizeEmail(email: string): string {
  const address = withAsciiDomain(fold(email).trim())
  const at = address.lastIndexOf('@')
  const local = address.slice(0, at)
  const domain = address.slice(at + 1)
  if (!GMAIL.has(domain)) return address
  return `${local.split('+', 1)[0]?.replaceAll('.', '')}@gmail.com`
}

/** The mailbox of an address, as far as anybody can tell: many providers deliver what has a tag to the one without. */
export const mailboxOf = (email: string): string => normalizeEmail(email).replace(/(?<=^[^@+]+)\+.*(?=@[^@]*$)/, '')

/** The username as a key: case-insensitive, compatibility forms folded. */
export const normalizeUsername = (username: string): string => fold(username).trim()

/** A login identifier, e-mail or username, as a key. Usernames have no @, so the two never collide. */
export function normalizeIdentifier(identifier: string): string {
  const key = normalizeUsername(identifier)
  return key.includes('@') ? normalizeEmail(key) : key
}

const MAPPED_IPV4 = /^::ffff:(?=\d+\.)/

/** The one spelling of an IP address (RFC 5952): IPv4 as such, IPv6 without the name of an interface. */
export function canonicalAddress(text: string): string {
  const address = text.replace(/%.*$/, '')
  if (isIP(address) !== 6) return address
  return new SocketAddress({ address, family: 'ipv6' }).address.replace(MAPPED_IPV4, '')
}

/** What to show others: the chosen display name, else the username, else the part of the address before the @. */
export const displayNameOf = (user: { displayName: string | null; username: string | null; email: string }): string =>
  user.displayName || user.username || user.email.slice(0, user.email.lastIndexOf('@'))

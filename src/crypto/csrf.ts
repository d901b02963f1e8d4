import type { KeyRing } from './key-ring.js'
import { hmac, isEqual, randomToken } from './secrets.js'

const mac = (key: Buffer, nonce: string) => hmac(key, nonce).toString('base64url')

/** A signed double-submit token (OWASP CSRF cheat sheet): nobody without the key can plant one. */
export function issueCsrfToken(keys: KeyRing): string {
  const nonce = randomToken()
  return `${nonce}.${mac(keys.current, nonce)}`
}

/** True when the header's token equals the cookie's and was issued by this installation. */
export function isCsrfTokenValid(keys: KeyRing, cookie: string | undefined, header: string | undefined): boolean {
  if (!cookie || !header || !isEqual(cookie, header)) return false
  const [nonce = '', tag = ''] = header.split('.')
  return keys.all.some((key) => isEqual(tag, mac(key, nonce)))
}

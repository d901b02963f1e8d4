import type { KeyRing } from './key-ring.js'
import { hmac, isEqual } from './secrets.js'

const mac = (key: Buffer, payload: string) => hmac(key, payload).toString('base64url')

/** Text that whoever keeps it can read, but not change: safe in a cookie. */
export function signValue(keys: KeyRing, text: string): string {
  const payload = Buffer.from(text).toString('base64url')
  return `${payload}.${mac(keys.current, payload)}`
}

/** What `signValue` signed under one of the keys; null for anything else. */
export function openSigned(keys: KeyRing, signed: string): string | null {
  const [payload = '', tag = '', ...rest] = signed.split('.')
  const isGood = rest.length === 0 && keys.all.some((key) => isEqual(tag, mac(key, payload)))
  return isGood ? Buffer.from(payload, 'base64url').toString() : null
}

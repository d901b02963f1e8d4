import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  hash,
  hkdfSync,
  randomBytes,
  randomInt,
  timingSafeEqual,
} from 'node:crypto'

/** 256 bits from the system's CSPRNG, base64url. */
export const randomToken = (): string => randomBytes(32).toString('base64url')

/** Six decimal digits from the system's CSPRNG. */
export const randomCode = (): string => String(randomInt(1_000_000)).padStart(6, '0')

/** For secrets of 128 bits and more, which need no slow hash (ASVS 6.5.2). */
export const sha256 = (secret: string): Buffer<ArrayBuffer> => Buffer.from(hash('sha256', secret, 'buffer'))

/** Stands for a secret where it is only to be recognised, e.g. as a key in memory. base64url. */
export const fingerprintOf = (secret: string): string => hash('sha256', secret, 'base64url')

/** Upper-case hex, as the range API of breached passwords wants it. Protects nothing. */
export const sha1Hex = (password: string): string => createHash('sha1').update(password).digest('hex').toUpperCase()

export const hmac = (key: Buffer, message: string): Buffer<ArrayBuffer> =>
  Buffer.from(createHmac('sha256', key).update(message).digest())

/** Constant time for equal lengths; the length is not secret. */
export function isEqual(a: string | Uint8Array, b: string | Uint8Array): boolean {
  const [left, right] = [Buffer.from(a as string), Buffer.from(b as string)]
  return left.length === right.length && timingSafeEqual(left, right)
}

/** A 256-bit key for one purpose (HKDF-SHA-256, RFC 5869). Different purposes give independent keys. */
export const deriveKey = (secret: string, purpose: string): Buffer =>
  Buffer.from(hkdfSync('sha256', secret, 'portcullis', purpose, 32))

const NONCE_BYTES = 12
const TAG_BYTES = 16

/** AES-256-GCM. `context` is authenticated with it: a sealed value opens only where it belongs. */
export function seal(key: Buffer, plaintext: string, context: string): Buffer<ArrayBuffer> {
  const nonce = randomBytes(NONCE_BYTES)
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(context))
  return Buffer.concat([nonce, cipher.update(plaintext, 'utf8'), cipher.final(), cipher.getAuthTag()])
}

/** Opens with the first of the keys that fits; null when none does. */
export function open(keys: readonly Buffer[], sealed: Uint8Array, context: string): string | null {
  const bytes = Buffer.from(sealed)
  for (const key of keys) {
    try {
      const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, NONCE_BYTES))
      decipher.setAAD(Buffer.from(context)).setAuthTag(bytes.subarray(-TAG_BYTES))
      return decipher.update(bytes.subarray(NONCE_BYTES, -TAG_BYTES), undefined, 'utf8') + decipher.final('utf8')
    } catch {
      // Another key of the list may fit.
    }
  }
  return null
}

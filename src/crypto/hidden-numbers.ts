import { createCipheriv, createDecipheriv } from 'node:crypto'

const BLOCK_BYTES = 16
const NUMBER_BYTES = 8
// A single block: one number has one text, and nothing is chained.
const CIPHER = 'aes-256-ecb'

/** A number below 2^64 as a text that tells nothing but whether two are the same: a block of AES-256, base64url. */
export function hideNumber(key: Buffer, value: bigint): string {
  const block = Buffer.alloc(BLOCK_BYTES)
  block.writeBigUInt64BE(value, BLOCK_BYTES - NUMBER_BYTES)
  return createCipheriv(CIPHER, key, null).setAutoPadding(false).update(block).toString('base64url')
}

/** The number, by the first of the keys that fits; null for a text that none of them has made. */
export function revealNumber(keys: readonly Buffer[], text: string): bigint | null {
  const hidden = Buffer.from(text, 'base64url')
  if (hidden.length !== BLOCK_BYTES || hidden.toString('base64url') !== text) return null
  for (const key of keys) {
    const block = createDecipheriv(CIPHER, key, null).setAutoPadding(false).update(hidden)
    if (block.readBigUInt64BE(0) === 0n) return block.readBigUInt64BE(BLOCK_BYTES - NUMBER_BYTES)
  }
  return null
}

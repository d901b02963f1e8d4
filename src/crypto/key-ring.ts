import { deriveKey } from './secrets.js'

/** Keys for one purpose, from the list of SECRET_KEYs: the first is used, the rest are still accepted. */
export interface KeyRing {
  readonly current: Buffer
  readonly all: readonly Buffer[]
}

export type KeyPurpose =
  | 'audit-cursor'
  | 'csrf'
  | 'one-time-code'
  | 'throttle'
  | 'signing-keys'
  | 'mail'
  | 'mail-request'
  | 'mail-quota'
  | 'breach-check'
  | 'refresh-family'
  | 'device'

/** Derives an independent key ring for each purpose. */
export function createKeyRings(secretKeys: readonly string[]): (purpose: KeyPurpose) => KeyRing {
  return (purpose) => {
    const all = secretKeys.map((secret) => deriveKey(secret, purpose))
    const [current] = all
    if (!current) throw new Error('At least one SECRET_KEY is needed')
    return { current, all }
  }
}

import type { KeyRing } from './key-ring.js'
import { open, seal } from './secrets.js'

/** A text that waits in a job: encrypted, base64. It opens only in its context. */
export const sealText = (keys: KeyRing, text: string, context: string): string =>
  seal(keys.current, text, context).toString('base64')

/** Opens what `sealText` has sealed. Throws when that was under a key that is gone. */
export function openText(keys: KeyRing, sealed: string, context: string): string {
  const text = open(keys.all, Buffer.from(sealed, 'base64'), context)
  if (text === null) throw new Error('The job was enqueued under a SECRET_KEY that is not configured')
  return text
}

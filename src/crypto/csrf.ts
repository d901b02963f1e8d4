import type { KeyRing } from './key-ring.js'
import { isEqual, randomToken } from './secrets.js'
import { openSigned, signValue } from './signed-values.js'

/** A signed double-submit token (OWASP CSRF cheat sheet): nobody without the key can plant one. */
export const issueCsrfToken = (keys: KeyRing): string => signValue(keys, randomToken())

/** True when the header's token equals the cookie's and was issued by this installation. */
export const isCsrfTokenValid = (keys: KeyRing, cookie: string | undefined, header: string | undefined): boolean =>
  Boolean(cookie && header && isEqual(cookie, header) && openSigned(keys, header) !== null)

// The catalogue of expected failures. Messages are safe for users; private facts go into the audit event.

/** Base of every failure that a client program branches on. Each one is a member of a result union. */
export abstract class DomainError extends Error {
  /** Stable, SCREAMING_SNAKE_CASE, listed in docs/errors.md. */
  abstract readonly code: string
}

/** Wrong password, no such account, deactivated account: one and the same to a caller. */
export class InvalidCredentialsError extends DomainError {
  readonly code = 'INVALID_CREDENTIALS'
  constructor(message = 'The identifier or the password is not correct.') {
    super(message)
  }
}

/** Too many consecutive failures on an identifier, whether or not it has an account, or on a known device of an account. */
export class AccountLockedError extends DomainError {
  readonly code = 'ACCOUNT_LOCKED'
  readonly lockedUntil: Date
  readonly retryAfterSeconds: number
  constructor(lockedUntil: Date, now: Date) {
    super('Too many failed attempts. Try again later, or reset the password.')
    this.lockedUntil = lockedUntil
    this.retryAfterSeconds = Math.max(1, Math.ceil((lockedUntil.getTime() - now.getTime()) / 1000))
  }
}

/** The password was right, and the address still has to be verified. */
export class EmailNotVerifiedError extends DomainError {
  readonly code = 'EMAIL_NOT_VERIFIED'
  constructor() {
    super('Verify the e-mail address first: follow the link, or enter the code, of the mail that was sent.')
  }
}

export type PasswordRule =
  | 'TOO_SHORT'
  | 'TOO_LONG'
  | 'TOO_GUESSABLE'
  | 'COMMON'
  | 'SIMILAR_TO_ACCOUNT'
  | 'REUSED'
  | 'BREACHED'
  | 'MISSING_CHARACTER_CLASS'
export interface PasswordViolation {
  rule: PasswordRule
  message: string
}

/** The new password breaks the policy. Says every rule that it breaks. */
export class WeakPasswordError extends DomainError {
  readonly code = 'WEAK_PASSWORD'
  readonly score: number
  readonly violations: readonly PasswordViolation[]
  constructor(score: number, violations: readonly PasswordViolation[]) {
    super(violations.map((violation) => violation.message).join(' '))
    this.score = score
    this.violations = violations
  }
}

export class UsernameTakenError extends DomainError {
  readonly code = 'USERNAME_TAKEN'
  constructor() {
    super('That username is taken.')
  }
}

/** Unknown, used and expired one-time tokens, and invalid access tokens, are one and the same to a caller. */
export class InvalidTokenError extends DomainError {
  readonly code = 'INVALID_TOKEN'
  constructor() {
    super('The token or code is invalid or has expired.')
  }
}

export type RefreshFailure = 'MISSING' | 'INVALID' | 'EXPIRED' | 'REVOKED' | 'REUSED'

/** The client has to sign in again. */
export class InvalidRefreshTokenError extends DomainError {
  readonly code = 'INVALID_REFRESH_TOKEN'
  readonly reason: RefreshFailure
  constructor(reason: RefreshFailure) {
    super('Sign in again.')
    this.reason = reason
  }
}

/** No such session, or somebody else's: one and the same to a caller. */
export class SessionNotFoundError extends DomainError {
  readonly code = 'SESSION_NOT_FOUND'
  constructor() {
    super('You have no such session.')
  }
}

/** A failure that any field can raise: becomes a top-level error with this `extensions.code`. */
export class RequestError extends Error {
  readonly code: 'BAD_USER_INPUT' | 'UNAUTHENTICATED' | 'FORBIDDEN' | 'CSRF_FAILED' | 'SERVICE_UNAVAILABLE'
  readonly details: Record<string, unknown>
  constructor(code: RequestError['code'], message: string, details: Record<string, unknown> = {}) {
    super(message)
    this.code = code
    this.details = details
  }
}

/** Cookie mode without a matching token or a trusted origin. */
export class CsrfFailedError extends RequestError {
  constructor() {
    super('CSRF_FAILED', 'Send x-csrf-token with the value of the query csrfToken.')
  }
}

/** One argument is malformed. `path` leads to it from the field's arguments. */
export class BadInputError extends RequestError {
  constructor(path: readonly string[], message: string) {
    super('BAD_USER_INPUT', 'Invalid input.', { issues: [{ path, code: 'invalid', message }] })
  }
}

/** A backing service is down, or the server sheds load; nothing was changed. The reason is for the log alone. */
export class ServiceUnavailableError extends RequestError {
  readonly reason: string
  constructor(reason: string) {
    super('SERVICE_UNAVAILABLE', 'The service is busy. Try again in a moment.', { retryAfter: 1 })
    this.reason = reason
    // Where it was thrown, which GraphQL reads, takes longer to put into words than anything else about a refusal.
    this.stack = reason
  }
}

import {
  AccountLockedError,
  type DomainError,
  EmailNotVerifiedError,
  InvalidCredentialsError,
  InvalidRefreshTokenError,
  InvalidTokenError,
  type PasswordViolation,
  type RefreshFailure as Reason,
  type PasswordRule as Rule,
  SessionNotFoundError,
  UsernameTakenError,
  WeakPasswordError,
} from '../errors.js'
import { builder } from './builder.js'

const UserError = builder.interfaceRef<DomainError>('UserError').implement({
  description: 'A failure that a client program branches on.',
  fields: (t) => ({
    code: t.exposeString('code', { description: 'Stable, SCREAMING_SNAKE_CASE, listed in docs/errors.md.' }),
    message: t.exposeString('message', { description: 'For people; may change.' }),
  }),
})

const interfaces = [UserError]

builder.objectType(InvalidCredentialsError, {
  name: 'InvalidCredentialsError',
  description: 'No such account, wrong password or deactivated account: not told apart.',
  interfaces,
})

builder.objectType(AccountLockedError, {
  name: 'AccountLockedError',
  description: 'Answered for any identifier that was tried too often, whether or not it has an account.',
  interfaces,
  fields: (t) => ({
    lockedUntil: t.expose('lockedUntil', { type: 'DateTime' }),
    retryAfterSeconds: t.exposeInt('retryAfterSeconds'),
  }),
})

builder.objectType(EmailNotVerifiedError, {
  name: 'EmailNotVerifiedError',
  description:
    'The password is that of a registration that waits for its verification, whether or not the address has an account. Counts as a failed login.',
  interfaces,
})

const PasswordRule = builder.enumType('PasswordRule', {
  values: {
    TOO_SHORT: { description: 'Fewer characters than PASSWORD_MIN_LENGTH.' },
    TOO_LONG: { description: 'More characters than PASSWORD_MAX_LENGTH.' },
    TOO_GUESSABLE: { description: 'Its zxcvbn score is below PASSWORD_MIN_SCORE.' },
    COMMON: { description: 'It is among the most common passwords.' },
    SIMILAR_TO_ACCOUNT: { description: 'It is made of the address, the username or a name of the account.' },
    REUSED: { description: 'The account has had it lately.' },
    BREACHED: { description: 'It is known from a data breach.' },
    MISSING_CHARACTER_CLASS: { description: 'A class of PASSWORD_REQUIRED_CLASSES is missing.' },
  } satisfies Record<Rule, object>,
})

const Violation = builder.objectRef<PasswordViolation>('PasswordViolation').implement({
  fields: (t) => ({
    rule: t.expose('rule', { type: PasswordRule }),
    message: t.exposeString('message', { description: 'For people; may change.' }),
  }),
})

builder.objectType(WeakPasswordError, {
  name: 'WeakPasswordError',
  description: 'The password breaks the policy.',
  interfaces,
  fields: (t) => ({
    score: t.exposeInt('score', { description: 'zxcvbn, 0 to 4.' }),
    violations: t.field({
      type: [Violation],
      description: 'Every rule that it breaks.',
      resolve: (e) => [...e.violations],
    }),
  }),
})

builder.objectType(UsernameTakenError, { name: 'UsernameTakenError', interfaces })

builder.objectType(InvalidTokenError, {
  name: 'InvalidTokenError',
  description:
    'Unknown, used and expired one-time tokens, and access tokens that are not valid, are one and the same to a caller.',
  interfaces,
})

const RefreshFailure = builder.enumType('RefreshFailure', {
  values: {
    MISSING: { description: 'There was no token, neither in the input nor in the cookie.' },
    INVALID: { description: 'It is no refresh token of this server, or no longer.' },
    EXPIRED: { description: 'The session has come to its end by itself.' },
    REVOKED: { description: 'The session was ended, or the account deactivated.' },
    REUSED: { description: 'It had been used before: the session has ended with this.' },
  } satisfies Record<Reason, object>,
})

builder.objectType(InvalidRefreshTokenError, {
  name: 'InvalidRefreshTokenError',
  description: 'The session cannot be renewed: sign in again.',
  interfaces,
  fields: (t) => ({ reason: t.expose('reason', { type: RefreshFailure }) }),
})

builder.objectType(SessionNotFoundError, {
  name: 'SessionNotFoundError',
  description: "No such active session, or somebody else's: not told apart.",
  interfaces,
})

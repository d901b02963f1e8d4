import {
  AccountLockedError,
  type DomainError,
  EmailNotVerifiedError,
  InvalidCredentialsError,
  InvalidRefreshTokenError,
  InvalidTokenError,
  PASSWORD_RULES,
  type PasswordViolation,
  REFRESH_FAILURES,
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
  description: 'Only after a correct password.',
  interfaces,
})

const PasswordRule = builder.enumType('PasswordRule', { values: PASSWORD_RULES })

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
  description: 'Unknown, used and expired one-time tokens are one and the same to a caller.',
  interfaces,
})

const RefreshFailure = builder.enumType('RefreshFailure', { values: REFRESH_FAILURES })

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

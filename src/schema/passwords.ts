import { Authentication, type DeliveredAuthentication } from './authentication.js'
import { builder } from './builder.js'
import { oneProof } from './registration.js'
import { code, email, identifier, optional, password, shape, token } from './shapes.js'

export const ChangePasswordInput = builder.inputType('ChangePasswordInput', {
  validate: shape({
    currentPassword: password,
    newPassword: password,
  }),
  fields: (t) => ({
    currentPassword: t.string({ required: true }),
    newPassword: t.string({ required: true }),
  }),
})

export const RequestPasswordResetInput = builder.inputType('RequestPasswordResetInput', {
  fields: (t) => ({ email: t.string({ required: true, validate: email }) }),
})

export const ResetPasswordInput = builder.inputType('ResetPasswordInput', {
  description: 'Either the token of the link, or the address and the six-digit code of the same mail.',
  validate: shape(
    {
      token: optional(token),
      email: optional(email),
      code: optional(code),
      newPassword: password,
    },
    oneProof,
  ),
  fields: (t) => ({
    token: t.string(),
    email: t.string(),
    code: t.string(),
    newPassword: t.string({ required: true }),
  }),
})

export const CheckPasswordInput = builder.inputType('CheckPasswordInput', {
  validate: shape({ password, email: optional(identifier), username: optional(identifier) }),
  fields: (t) => ({
    password: t.string({ required: true }),
    email: t.string({ description: 'The password must not resemble it.' }),
    username: t.string({ description: 'The password must not resemble it.' }),
  }),
})

export const ChangePasswordSuccess = builder
  .objectRef<{ authentication: DeliveredAuthentication; terminatedSessions: number }>('ChangePasswordSuccess')
  .implement({
    description: 'A new pair for the current session; all others have ended.',
    fields: (t) => ({
      authentication: t.expose('authentication', { type: Authentication }),
      terminatedSessions: t.exposeInt('terminatedSessions'),
    }),
  })

export const RequestPasswordResetSuccess = builder
  .objectRef<{ message: string }>('RequestPasswordResetSuccess')
  .implement({ fields: (t) => ({ message: t.exposeString('message') }) })

export const ResetPasswordSuccess = builder
  .objectRef<{ message: string; terminatedSessions: number }>('ResetPasswordSuccess')
  .implement({
    fields: (t) => ({
      message: t.exposeString('message'),
      terminatedSessions: t.exposeInt('terminatedSessions'),
    }),
  })

export const CheckPasswordSuccess = builder
  .objectRef<{ score: number }>('CheckPasswordSuccess')
  .implement({ fields: (t) => ({ score: t.exposeInt('score', { description: 'zxcvbn, 0 to 4.' }) }) })

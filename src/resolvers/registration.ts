import { InvalidTokenError, UsernameTakenError, WeakPasswordError } from '../errors.js'
import { builder } from '../schema/builder.js'
import {
  RegisterInput,
  RegisterSuccess,
  ResendVerificationEmailInput,
  ResendVerificationEmailSuccess,
  VerifyEmailInput,
  VerifyEmailSuccess,
} from '../schema/registration.js'
import { toProof } from './proof.js'

builder.mutationField('register', (t) =>
  t.field({
    description: 'Registers an account. It answers the same for an address that has one already.',
    type: RegisterSuccess,
    args: { input: t.arg({ type: RegisterInput, required: true }) },
    isPublic: true,
    errors: { types: [WeakPasswordError, UsernameTakenError] },
    resolve: async (_root, { input }, { services, client }) => {
      const { email, password, username, firstName, lastName, displayName, locale, timezone } = input
      await services.registration.register(client, {
        email,
        password,
        username: username ?? null,
        firstName: firstName ?? null,
        lastName: lastName ?? null,
        displayName: displayName ?? null,
        locale: locale ?? null,
        timezone: timezone ?? null,
      })
      return { email, message: 'Look into your mail to go on.' }
    },
  }),
)

builder.mutationField('verifyEmail', (t) =>
  t.field({
    description: 'Proves that an address is yours.',
    type: VerifyEmailSuccess,
    args: { input: t.arg({ type: VerifyEmailInput, required: true }) },
    isPublic: true,
    errors: { types: [InvalidTokenError] },
    resolve: (_root, { input }, { services, client }) => services.registration.verifyEmail(client, toProof(input)),
  }),
)

builder.mutationField('resendVerificationEmail', (t) =>
  t.field({
    description: 'Sends the verification mail again. It answers the same whether or not there is something to verify.',
    type: ResendVerificationEmailSuccess,
    args: { input: t.arg({ type: ResendVerificationEmailInput, required: true }) },
    isPublic: true,
    errors: { types: [] },
    resolve: async (_root, { input }, { services, client }) => {
      await services.registration.resendVerificationEmail(client, input.email)
      return { message: 'If the address waits for its verification, a mail is on its way.' }
    },
  }),
)

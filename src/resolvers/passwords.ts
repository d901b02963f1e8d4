import { InvalidCredentialsError, InvalidTokenError, WeakPasswordError } from '../errors.js'
import { builder } from '../schema/builder.js'
import {
  ChangePasswordInput,
  ChangePasswordSuccess,
  CheckPasswordInput,
  CheckPasswordSuccess,
  RequestPasswordResetInput,
  RequestPasswordResetSuccess,
  ResetPasswordInput,
  ResetPasswordSuccess,
} from '../schema/passwords.js'
import { toProof } from './proof.js'
import { deliver, rememberDevice } from './sign-in.js'

builder.mutationField('changePassword', (t) =>
  t.withAuth({ signedIn: true }).field({
    description:
      'Changes the password, ends all other sessions and gives the current one new tokens: in cookies where the request came with those, else in the answer.',
    type: ChangePasswordSuccess,
    args: { input: t.arg({ type: ChangePasswordInput, required: true }) },
    errors: { types: [InvalidCredentialsError, WeakPasswordError] },
    resolve: async (_root, { input: { currentPassword, newPassword } }, context) => {
      const { services, client, viewer, transport, accessToken } = context
      // The tokens go where those that they replace came from: cookies of another session may come along.
      const isByCookie =
        accessToken === transport.accessCookie || (await services.refresh.isOf(viewer.session, transport.refreshCookie))
      const delivery = isByCookie ? 'COOKIE' : 'BODY'
      if (isByCookie) transport.assertCookies()
      const changed = await services.passwords.change(client, viewer, currentPassword, newPassword)
      const authentication = deliver(context, changed.authentication, delivery)
      rememberDevice(context, changed.authentication.user)
      return { ...changed, authentication }
    },
  }),
)

builder.mutationField('requestPasswordReset', (t) =>
  t.field({
    description: 'Always answers the same, in the same time, whether or not the account exists.',
    type: RequestPasswordResetSuccess,
    args: { input: t.arg({ type: RequestPasswordResetInput, required: true }) },
    isPublic: true,
    errors: { types: [] },
    resolve: async (_root, { input }, { services, client }) => {
      await services.passwords.requestReset(client, input.email)
      return { message: 'If the address has an account, a mail is on its way.' }
    },
  }),
)

builder.mutationField('resetPassword', (t) =>
  t.field({
    description:
      'Sets a new password with the proof of a mail, and ends every session. A browser that did so counts as one where the owner has signed in: strangers cannot lock it out.',
    type: ResetPasswordSuccess,
    args: { input: t.arg({ type: ResetPasswordInput, required: true }) },
    isPublic: true,
    errors: { types: [InvalidTokenError, WeakPasswordError] },
    resolve: async (_root, { input }, context) => {
      const { services, client } = context
      const { user, terminatedSessions } = await services.passwords.reset(client, toProof(input), input.newPassword)
      rememberDevice(context, user)
      return { message: 'The password was changed. Sign in with it.', terminatedSessions }
    },
  }),
)

builder.mutationField('checkPassword', (t) =>
  t.field({
    description: 'Scores a candidate password against the policy without storing it.',
    type: CheckPasswordSuccess,
    args: { input: t.arg({ type: CheckPasswordInput, required: true }) },
    isPublic: true,
    errors: { types: [WeakPasswordError] },
    resolve: async (_root, { input: { password, email, username } }, { services, client }) => ({
      score: await services.passwords.check(client, password, { email: email ?? null, username: username ?? null }),
    }),
  }),
)

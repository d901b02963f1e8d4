import { InvalidRefreshTokenError, InvalidTokenError } from '../errors.js'
import {
  LogoutSuccess,
  RefreshInput,
  RefreshSuccess,
  VerifyTokenInput,
  VerifyTokenSuccess,
} from '../schema/authentication.js'
import { builder } from '../schema/builder.js'
import { deliver } from './sign-in.js'

builder.mutationField('refresh', (t) =>
  t.field({
    description: 'Rotates the refresh token (from the input, or else from the cookie) and returns a new access token.',
    type: RefreshSuccess,
    args: { input: t.arg({ type: RefreshInput }) },
    isPublic: true,
    errors: { types: [InvalidRefreshTokenError] },
    resolve: async (_root, { input }, context) => {
      const { services, client, transport } = context
      const delivery = input?.refreshToken ? 'BODY' : 'COOKIE'
      if (delivery === 'COOKIE' && transport.refreshCookie) transport.assertCsrf()
      const { authentication, outcome } = await services.refresh.refresh(
        client,
        input?.refreshToken ?? transport.refreshCookie,
      )
      return { authentication: deliver(context, authentication, delivery), outcome }
    },
  }),
)

builder.mutationField('logout', (t) =>
  t.field({
    description:
      'Ends the current session, that of an access token that has expired included. Succeeds, and clears cookies, even when the session has already ended.',
    type: LogoutSuccess,
    isPublic: true,
    errors: { types: [] },
    resolve: async (_root, _args, { services, client, viewer, accessToken, transport, isProofMissing }) => {
      if (transport.refreshCookie || isProofMissing) transport.assertCsrf()
      const session = viewer?.session ?? (accessToken ? await services.viewers.sessionToLeave(accessToken) : null)
      await services.refresh.logout(client, session, transport.refreshCookie)
      transport.clearTokenCookies()
      return { message: 'You are signed out.' }
    },
  }),
)

builder.mutationField('verifyToken', (t) =>
  t.field({
    description:
      'Tells whether an access token is valid now (signature, claims, session still live). A mutation so that a token never stands in a URL.',
    type: VerifyTokenSuccess,
    args: { input: t.arg({ type: VerifyTokenInput, required: true }) },
    isPublic: true,
    errors: { types: [InvalidTokenError] },
    resolve: async (_root, { input }, { services }) => {
      // Not by what the request has seen before: an earlier field of it may have ended the session.
      const viewer = await services.viewers.authenticate(services.records.forRequest(), input.token)
      if (!viewer) throw new InvalidTokenError()
      return { userId: viewer.user.id, sessionId: viewer.session.id, expiresAt: viewer.tokenExpiresAt }
    },
  }),
)

builder.queryField('csrfToken', (t) =>
  t.string({
    description: 'Double-submit CSRF token for cookie mode; also sets the matching cookie. Send it as x-csrf-token.',
    isPublic: true,
    resolve: (_root, _args, { transport }) => transport.csrfToken(),
  }),
)

import { AccountLockedError, EmailNotVerifiedError, InvalidCredentialsError, InvalidTokenError } from '../errors.js'
import { ExchangeTokenInput, ExchangeTokenSuccess, LoginInput, LoginSuccess } from '../schema/authentication.js'
import { builder } from '../schema/builder.js'
import { assertDeliverable, deliver, leaving, rememberDevice } from './sign-in.js'

builder.mutationField('login', (t) =>
  t.field({
    description: 'Signs in with a password.',
    type: LoginSuccess,
    args: { input: t.arg({ type: LoginInput, required: true }) },
    isPublic: true,
    errors: { types: [InvalidCredentialsError, AccountLockedError, EmailNotVerifiedError] },
    resolve: async (_root, { input: { tokenDelivery, deviceName, ...credentials } }, context) => {
      assertDeliverable(context, tokenDelivery)
      const authentication = await context.services.login.withPassword(context.client, {
        ...credentials,
        deviceName: deviceName ?? null,
        deviceCookie: context.transport.deviceCookie,
        leaving: leaving(context, tokenDelivery),
      })
      const delivered = deliver(context, authentication, tokenDelivery)
      rememberDevice(context, authentication.user)
      return { authentication: delivered }
    },
  }),
)

builder.mutationField('exchangeToken', (t) =>
  t.field({
    description: 'Swaps a single-use, 60-second exchange token for a session, so that no JWT ever stands in a URL.',
    type: ExchangeTokenSuccess,
    args: { input: t.arg({ type: ExchangeTokenInput, required: true }) },
    isPublic: true,
    errors: { types: [InvalidTokenError] },
    resolve: async (_root, { input: { token, deviceName, tokenDelivery } }, context) => {
      assertDeliverable(context, tokenDelivery)
      const { services, client } = context
      const { authentication, firstLogin } = await services.exchange.exchange(
        client,
        token,
        deviceName ?? null,
        leaving(context, tokenDelivery),
      )
      return { authentication: deliver(context, authentication, tokenDelivery), firstLogin }
    },
  }),
)

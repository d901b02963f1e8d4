import { builder } from './builder.js'
import { Session } from './sessions.js'
import { deviceName, identifier, optional, password, shape, token } from './shapes.js'
import { type SignedInUser, User } from './users.js'

export type TokenDelivery = 'COOKIE' | 'BODY'

/** What a client gets when it signs in or renews its session, as far as it is delivered in the body. */
export interface DeliveredAuthentication {
  accessToken: string
  expiresIn: number
  expiresAt: Date
  refreshToken: string | null
  refreshExpiresAt: Date
  user: SignedInUser
}

export const Authentication = builder.objectRef<DeliveredAuthentication>('Authentication').implement({
  description: 'Proof of having signed in.',
  fields: (t) => ({
    accessToken: t.exposeString('accessToken', {
      description:
        'JWT, typ at+jwt (RFC 9068); send as Authorization: Bearer. Empty where the server puts it into an HttpOnly cookie: with ACCESS_TOKEN_COOKIE and TokenDelivery COOKIE.',
    }),
    tokenType: t.string({ description: 'Always Bearer (RFC 6750).', resolve: () => 'Bearer' }),
    expiresIn: t.exposeInt('expiresIn', { description: 'Seconds from now.' }),
    expiresAt: t.expose('expiresAt', { type: 'DateTime' }),
    refreshToken: t.exposeString('refreshToken', {
      nullable: true,
      description: 'Only with TokenDelivery BODY. With COOKIE it is in an HttpOnly cookie and nowhere else.',
    }),
    refreshExpiresAt: t.expose('refreshExpiresAt', {
      type: 'DateTime',
      description: 'When the session ends at the latest.',
    }),
    user: t.expose('user', { type: User }),
    session: t.field({ type: Session, resolve: ({ user }) => user.currentSession }),
  }),
})

const TokenDeliveryEnum = builder.enumType('TokenDelivery', {
  values: {
    COOKIE: {
      description:
        'The refresh token goes into an HttpOnly cookie: for browsers. A session that the cookie of the browser had before ends.',
    },
    BODY: { description: 'The refresh token is in the answer: for programs that can keep it safe.' },
  },
})

export const LoginInput = builder.inputType('LoginInput', {
  validate: shape({
    identifier,
    password,
    deviceName: optional(deviceName),
  }),
  fields: (t) => ({
    identifier: t.string({ required: true, description: 'E-mail or username.' }),
    password: t.string({ required: true }),
    rememberMe: t.boolean({ required: true, defaultValue: false, description: 'Asks for a longer session.' }),
    deviceName: t.string({ description: 'How the session list shall call this device.' }),
    tokenDelivery: t.field({ type: TokenDeliveryEnum, required: true, defaultValue: 'COOKIE' }),
  }),
})

export const RefreshInput = builder.inputType('RefreshInput', {
  fields: (t) => ({
    refreshToken: t.string({ description: 'With TokenDelivery BODY; the cookie is read otherwise.', validate: token }),
  }),
})

export const ExchangeTokenInput = builder.inputType('ExchangeTokenInput', {
  validate: shape({
    token,
    deviceName: optional(deviceName),
  }),
  fields: (t) => ({
    token: t.string({ required: true }),
    deviceName: t.string(),
    tokenDelivery: t.field({ type: TokenDeliveryEnum, required: true, defaultValue: 'COOKIE' }),
  }),
})

export const VerifyTokenInput = builder.inputType('VerifyTokenInput', {
  fields: (t) => ({ token: t.string({ required: true, validate: token }) }),
})

type WithAuthentication = { authentication: DeliveredAuthentication }

export const LoginSuccess = builder.objectRef<WithAuthentication>('LoginSuccess').implement({
  fields: (t) => ({ authentication: t.expose('authentication', { type: Authentication }) }),
})

const RefreshOutcome = builder.enumType('RefreshOutcome', {
  values: {
    ROTATED: { description: 'A new pair was issued.' },
    REPLAYED: {
      description: 'The same token was presented again within the grace window: the same successor is returned.',
    },
  },
})

export const RefreshSuccess = builder
  .objectRef<WithAuthentication & { outcome: 'ROTATED' | 'REPLAYED' }>('RefreshSuccess')
  .implement({
    fields: (t) => ({
      authentication: t.expose('authentication', { type: Authentication }),
      outcome: t.expose('outcome', { type: RefreshOutcome }),
    }),
  })

export const LogoutSuccess = builder
  .objectRef<{ message: string }>('LogoutSuccess')
  .implement({ fields: (t) => ({ message: t.exposeString('message') }) })

export const ExchangeTokenSuccess = builder
  .objectRef<WithAuthentication & { firstLogin: boolean }>('ExchangeTokenSuccess')
  .implement({
    fields: (t) => ({
      authentication: t.expose('authentication', { type: Authentication }),
      firstLogin: t.exposeBoolean('firstLogin', { description: 'True when the user had never signed in before.' }),
    }),
  })

export const VerifyTokenSuccess = builder
  .objectRef<{ userId: string; sessionId: string; expiresAt: Date }>('VerifyTokenSuccess')
  .implement({
    fields: (t) => ({
      userId: t.exposeID('userId'),
      sessionId: t.exposeID('sessionId'),
      expiresAt: t.expose('expiresAt', { type: 'DateTime' }),
    }),
  })

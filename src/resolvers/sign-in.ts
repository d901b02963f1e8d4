import type { Context } from '../context.js'
import type { DeliveredAuthentication, TokenDelivery } from '../schema/authentication.js'
import { asSignedIn } from '../schema/users.js'
import type { Authentication } from '../services/access-tokens.js'
import type { UserRecord } from '../services/records.js'

/** Refuses a delivery that the transport cannot make, before anything is changed. */
export function assertDeliverable(context: Context, delivery: TokenDelivery): void {
  if (delivery === 'COOKIE') context.transport.assertCookies()
}

/** The refresh token of the session whose place a new one takes: a browser has one at a time. */
export const leaving = ({ transport }: Context, delivery: TokenDelivery): string | null =>
  delivery === 'COOKIE' ? transport.refreshCookie : null

/** Lets the caller's device prove later on that the account has signed in there with its password. */
export function rememberDevice({ services, transport }: Context, user: UserRecord): void {
  const cookie = services.devices.remember(transport.deviceCookie, user)
  if (cookie) transport.setDeviceCookie(cookie)
}

/** Hands the tokens over: each goes into a cookie or into the body, never into both. */
export function deliver(context: Context, issued: Authentication, delivery: TokenDelivery): DeliveredAuthentication {
  const { user, session, refreshToken, accessToken, expiresIn, expiresAt, refreshExpiresAt } = issued
  const { transport } = context
  const isCookie = delivery === 'COOKIE'
  context.currentSessionId = session.id
  if (isCookie) transport.setTokenCookies(issued)
  return {
    expiresIn,
    expiresAt,
    refreshExpiresAt,
    accessToken: isCookie && transport.hasAccessCookie ? '' : accessToken,
    refreshToken: isCookie ? null : refreshToken,
    user: asSignedIn(user, session),
  }
}

import type { Context } from '../context.js'
import type { DeliveredAuthentication, TokenDelivery } from '../schema/authentication.js'
import type { Authentication } from '../services/authentications.js'
import type { UserRecord } from '../services/records.js'

/** Refuses a delivery that the transport cannot make, before anything is changed. */
export function assertDeliverable(context: Context, delivery: TokenDelivery): void {
  if (delivery === 'COOKIE') context.transport.assertCookies()
}

/** Lets the caller's device prove later on that the account has signed in there with its password. */
export function rememberDevice({ services, transport }: Context, user: UserRecord): void {
  const cookie = services.devices.remember(transport.deviceCookie, user)
  if (cookie) transport.setDeviceCookie(cookie)
}

/** Hands the tokens over: the refresh token goes into the cookie or into the body, never into both. */
export function deliver(context: Context, issued: Authentication, delivery: TokenDelivery): DeliveredAuthentication {
  const { user, session, refreshToken, ...authentication } = issued
  context.currentSessionId = session.id
  if (delivery === 'COOKIE') context.transport.setTokenCookies(issued)
  return {
    ...authentication,
    refreshToken: delivery === 'BODY' ? refreshToken : null,
    user: { ...user, currentSession: session },
  }
}

import { expect } from 'vitest'
import { type Overrides, startApp } from './app.js'
import { expectType } from './client.js'
import { MeDocument, SessionsDocument, VerifyTokenDocument } from './generated/graphql.js'
import { compact, freshClaims, type Signer, stealKey } from './signing.js'

/** A server whose signing key was stolen, with two of its users, and what becomes of tokens that were forged for the first. */
export async function startForgery(overrides: Overrides = {}) {
  const app = await startApp(overrides)
  const { anonymous } = app
  const ada = await app.newUser()
  const bob = await app.newUser()
  const key = await stealKey(app)
  const bearer = (token: string) => anonymous.with({ authorization: `Bearer ${token}` })
  const verify = (token: string) => anonymous.call(VerifyTokenDocument, { input: { token } })

  return {
    ...{ app, ada, bob, key, bearer },
    seconds: () => Math.floor(app.clock.now().getTime() / 1000),

    /** Good but for what is given: signed with the server's own key, for a session that lives. */
    forge(header: object = {}, claims: object = {}, signer: Signer = key.sign): string {
      const own = { alg: key.alg, typ: 'at+jwt', kid: key.kid }
      return compact({ ...own, ...header }, { ...freshClaims(ada.accessToken, app.clock.now()), ...claims }, signer)
    },

    async expectRefused(token: string): Promise<void> {
      expect(await verify(token)).toMatchObject({ __typename: 'InvalidTokenError', code: 'INVALID_TOKEN' })
      expect(await bearer(token).call(MeDocument)).toBeNull()
      expect((await bearer(token).refusal(SessionsDocument)).code).toBe('UNAUTHENTICATED')
    },

    async expectAccepted(token: string): Promise<void> {
      expectType(await verify(token), 'VerifyTokenSuccess')
      expect((await bearer(token).call(MeDocument))?.id).toBe(ada.id)
    },
  }
}

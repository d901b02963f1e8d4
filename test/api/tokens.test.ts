import { describe, expect, test } from 'vitest'
import { NEXT_PASSWORD, startApp } from '../support/app.js'
import { expectType } from '../support/client.js'
import {
  ChangePasswordDocument,
  LogoutDocument,
  MeDocument,
  RefreshDocument,
  SessionsDocument,
  VerifyTokenDocument,
} from '../support/generated/graphql.js'

const app = await startApp()
const { anonymous, clock } = app

const verify = (token: string) => anonymous.call(VerifyTokenDocument, { input: { token } })
const bearer = (token: string) => anonymous.with({ authorization: `Bearer ${token}` })
/** The same token with another character at that place of its part. */
function forge(token: string, part: 0 | 1 | 2): string {
  const parts = token.split('.')
  const text = parts[part] ?? ''
  const middle = Math.floor(text.length / 2)
  parts[part] = text.slice(0, middle) + (text[middle] === 'A' ? 'B' : 'A') + text.slice(middle + 1)
  return parts.join('.')
}

describe('verifying an access token', () => {
  test('says whose it is, of which session, and how long it is good', async () => {
    const ada = await app.newUser()
    const answer = await anonymous.execute(VerifyTokenDocument, { input: { token: ada.accessToken } })
    expect(answer.data.verifyToken).toEqual({
      __typename: 'VerifyTokenSuccess',
      userId: ada.id,
      sessionId: ada.sessionId,
      expiresAt: ada.authentication.expiresAt,
    })
    expect(await app.eventsFrom(answer)).toEqual([])
  })

  test.each([
    ['a text that is no token', async () => 'nonsense'],
    ['a refresh token', async () => (await app.newUser()).refreshToken],
    ['a token with another header', async () => forge((await app.newUser()).accessToken, 0)],
    ['a token with other claims', async () => forge((await app.newUser()).accessToken, 1)],
    ['a token with another signature', async () => forge((await app.newUser()).accessToken, 2)],
    [
      'a token without a signature',
      async () => {
        const [, claims] = (await app.newUser()).accessToken.split('.')
        return `${Buffer.from('{"alg":"none","typ":"at+jwt"}').toString('base64url')}.${claims}.`
      },
    ],
    [
      'a token of another installation',
      async () => {
        const other = await startApp({ env: { JWT_ISSUER: 'https://elsewhere.example.com' } })
        return (await other.newUser()).accessToken
      },
    ],
    [
      'a token of an ended session',
      async () => {
        const ada = await app.newUser()
        await ada.call(LogoutDocument)
        return ada.accessToken
      },
    ],
    [
      'a token of a deactivated account',
      async () => {
        const ada = await app.newUser()
        await app.operator.deactivate(ada.email)
        return ada.accessToken
      },
    ],
  ])('refuses %s, and it signs nobody in', async (_, obtain) => {
    const token = await obtain()
    expect(await verify(token)).toMatchObject({ __typename: 'InvalidTokenError', code: 'INVALID_TOKEN' })
    expect(await bearer(token).call(MeDocument)).toBeNull()
    expect((await bearer(token).refusal(SessionsDocument)).code).toBe('UNAUTHENTICATED')
  })

  test('refuses one whose session an earlier field of the same operation has ended', async () => {
    const ada = await app.newUser()
    const { accessToken } = await ada.logIn()
    const verified = (token: string) => `verifyToken(input: { token: "${token}" }) { __typename }`
    const query = `mutation {
      before: ${verified(accessToken)} terminateAllSessions { __typename } after: ${verified(accessToken)}
      logout { __typename } own: ${verified(ada.accessToken)}
    }`
    const [good, bad] = [{ __typename: 'VerifyTokenSuccess' }, { __typename: 'InvalidTokenError' }]
    const { data } = await ada.post(JSON.stringify({ query }))
    expect(data).toMatchObject({ before: good, after: bad, own: bad })
  })

  test('refuses one that has expired, while its session lives on', async () => {
    const ada = await app.newUser()
    clock.advance('14m')
    expectType(await verify(ada.accessToken), 'VerifyTokenSuccess')
    // Beyond the five seconds by which clocks may differ.
    clock.advance('66s')
    expectType(await verify(ada.accessToken), 'InvalidTokenError')
    expect(await ada.call(MeDocument)).toBeNull()
    const later = await ada.refreshed()
    expect((await later.call(MeDocument))?.id).toBe(ada.id)
  })
})

describe('an access token', () => {
  test('is good for as long as ACCESS_TOKEN_LIFETIME says, but not longer than its session', async () => {
    const hourly = await startApp({ env: { ACCESS_TOKEN_LIFETIME: '2h', REFRESH_TOKEN_LIFETIME: '3h' } })
    const ada = await hourly.newUser()
    expect(ada.authentication.expiresIn).toBe(7200)
    hourly.clock.advance('2h')
    const { authentication } = await ada.refreshed()
    expect(authentication.expiresIn).toBeGreaterThan(3500)
    expect(authentication.expiresIn).toBeLessThanOrEqual(3600)
  })

  test.each(['EdDSA', 'ES256', 'RS256', 'HS256'])('can be signed with %s', async (algorithm) => {
    const env = { JWT_ALGORITHM: algorithm, JWT_SIGNING_KEY: 'a-key-of-more-than-thirty-two-bytes-for-hmac' }
    const signing = await startApp({ env })
    const ada = await signing.newUser()
    const header = JSON.parse(Buffer.from(ada.accessToken.split('.')[0] ?? '', 'base64url').toString())
    expect(header).toMatchObject({ alg: algorithm, typ: 'at+jwt', kid: expect.any(String) })
    expect((await ada.call(MeDocument))?.id).toBe(ada.id)
    const { keys } = (await (await fetch(`${signing.url}/.well-known/jwks.json`)).json()) as { keys: { kid: string }[] }
    expect(keys.map(({ kid }) => kid)).toEqual(algorithm === 'HS256' ? [] : [header.kid])
  })
})

describe('signing out', () => {
  test('with a bearer token ends that session, on the very next request', async () => {
    const ada = await app.newUser()
    const other = await ada.logIn()
    const answer = await ada.execute(LogoutDocument)
    expect(answer.data.logout.__typename).toBe('LogoutSuccess')
    expect(await app.eventsFrom(answer)).toEqual(['LOGGED_OUT'])
    expect(await ada.call(MeDocument)).toBeNull()
    const ended = (await other.sessions(true)).find(({ id }) => id === ada.sessionId)
    expect(ended).toMatchObject({ isActive: false, endReason: 'LOGOUT', endedAt: expect.any(String) })
    expect(await other.sessions()).toHaveLength(1)
  })

  test('a second time succeeds, and does nothing', async () => {
    const ada = await app.newUser()
    await ada.call(LogoutDocument)
    const again = await ada.execute(LogoutDocument)
    expect(again.data.logout.__typename).toBe('LogoutSuccess')
    expect(await app.eventsFrom(again)).toEqual([])
  })

  test('of somebody who is not signed in succeeds, and does nothing', async () => {
    const answer = await anonymous.execute(LogoutDocument)
    expect(answer.data.logout.__typename).toBe('LogoutSuccess')
    expect(await app.eventsFrom(answer)).toEqual([])
  })
})

test.each([
  ['sessions', SessionsDocument, {}],
  ['changePassword', ChangePasswordDocument, { input: { currentPassword: 'x', newPassword: NEXT_PASSWORD } }],
  ['sessions', SessionsDocument, { first: 0 }],
  ['changePassword', ChangePasswordDocument, { input: { currentPassword: '', newPassword: '' } }],
] as const)('%s is for those who are signed in, whatever its arguments: %#', async (field, document, variables) => {
  const refusal = await anonymous.refusal(document, variables)
  expect(refusal).toMatchObject({ code: 'UNAUTHENTICATED', path: [field] })
})

test('a pair that one process gave out is good with another, until one of them ends the session', async () => {
  const env = { PUBLIC_URL: 'http://localhost:4000' }
  const here = await startApp({ env })
  const there = await startApp({ env, beside: here })
  const ada = await here.newUser()
  const input = { refreshToken: ada.refreshToken }
  const { authentication } = expectType(await there.anonymous.call(RefreshDocument, { input }), 'RefreshSuccess')
  const [client, neighbour] = [here, there].map((each) =>
    each.anonymous.with({ authorization: `Bearer ${authentication.accessToken}` }),
  )
  expect((await client?.call(MeDocument))?.id).toBe(ada.id)
  await client?.call(LogoutDocument)
  expect(await neighbour?.call(MeDocument)).toBeNull()
})

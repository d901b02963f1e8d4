import { createRemoteJWKSet, decodeProtectedHeader, jwtVerify } from 'jose'
import { describe, expect, test } from 'vitest'
import { startApp } from '../support/app.js'
import { expectType } from '../support/client.js'
import {
  MeDocument,
  RefreshDocument,
  TerminateAllSessionsDocument,
  UpdateProfileDocument,
} from '../support/generated/graphql.js'

describe('the public keys', () => {
  test.each([['EdDSA'], ['ES256'], ['RS256']])('verify the access tokens of %s', async (algorithm) => {
    const issuer = { JWT_ISSUER: 'https://auth.example', JWT_AUDIENCE: 'https://api.example' }
    const app = await startApp({ env: { ...issuer, JWT_ALGORITHM: algorithm } })
    const ada = await app.newUser()
    const keys = createRemoteJWKSet(new URL('/.well-known/jwks.json', app.url))
    const { payload, protectedHeader } = await jwtVerify(ada.accessToken, keys, {
      ...{ issuer: 'https://auth.example', audience: 'https://api.example', typ: 'at+jwt', algorithms: [algorithm] },
    })
    expect(payload).toMatchObject({ sub: ada.id, sid: ada.sessionId, email: ada.email, amr: ['pwd'] })
    expect(protectedHeader).toMatchObject({ alg: algorithm, kid: expect.any(String) })
  })

  test.each([['EdDSA'], ['ES256'], ['RS256']])('hold nothing private with %s', async (algorithm) => {
    const { url } = await startApp({ env: { JWT_ALGORITHM: algorithm } })
    const { keys } = (await (await fetch(`${url}/.well-known/jwks.json`)).json()) as { keys: object[] }
    expect(keys.length).toBeGreaterThan(0)
    for (const key of keys) {
      expect(key).toMatchObject({ alg: expect.any(String), use: 'sig', kid: expect.any(String) })
      for (const name of ['d', 'p', 'q', 'dp', 'dq', 'qi', 'k']) expect(key).not.toHaveProperty(name)
    }
  })

  test('are none with HS256, whose tokens only we can verify', async () => {
    const env = { JWT_ALGORITHM: 'HS256', JWT_SIGNING_KEY: 'a-signing-key-of-32-bytes-or-more' }
    const app = await startApp({ env })
    const ada = await app.newUser()
    expect(decodeProtectedHeader(ada.accessToken).alg).toBe('HS256')
    expect(await (await fetch(`${app.url}/.well-known/jwks.json`)).json()).toEqual({ keys: [] })
    expect((await ada.call(MeDocument))?.id).toBe(ada.id)
  })
})

describe('with ACCESS_TOKEN_COOKIE', async () => {
  const PAGE = 'https://app.example.com'
  const PROFILE = { input: { firstName: 'Ada' } }
  const app = await startApp({ env: { ACCESS_TOKEN_COOKIE: 'true', FRONTEND_URL: PAGE } })
  const ada = await app.newUser()

  test('a login sets the access token as an HttpOnly cookie that lasts as long as the token', async () => {
    const browser = await ada.openBrowser()
    const cookie = browser.cookies.get('portcullis_access')
    expect(cookie?.attributes).toMatchObject({ httponly: true, samesite: 'Lax', path: '/' })
    const expires = Date.parse(`${cookie?.attributes.expires}`)
    expect(Math.abs(expires - Date.now() - 15 * 60_000)).toBeLessThan(60_000)
  })

  test('a query needs nothing but the cookie, over GET as over POST', async () => {
    const browser = await ada.openBrowser()
    const cookie = `portcullis_access=${browser.cookies.get('portcullis_access')?.value}`
    const response = await fetch(`${app.url}/graphql?query={me{id}}`, {
      headers: { accept: 'application/json', cookie },
    })
    expect(await response.json()).toEqual({ data: { me: { id: ada.id } } })
    expect((await browser.call(MeDocument))?.id).toBe(ada.id)
  })

  test('a mutation needs the CSRF proof, and changes nothing without it', async () => {
    const browser = await ada.openBrowser()
    const refused = await browser.refusal(TerminateAllSessionsDocument)
    expect(refused).toMatchObject({ code: 'CSRF_FAILED', status: 403 })
    expect((await ada.sessions()).length).toBeGreaterThan(1)
  })

  test('the token of csrfToken is such a proof, and no other is', async () => {
    const browser = await ada.openBrowser()
    const page = await browser.withCsrfToken()
    const forged = browser.with({ 'x-csrf-token': 'x'.repeat(43) })
    expect(await forged.refusal(UpdateProfileDocument, PROFILE)).toMatchObject({ code: 'CSRF_FAILED', status: 403 })
    expectType(await page.call(UpdateProfileDocument, PROFILE), 'UpdateProfileSuccess')
  })

  test('a trusted origin is such a proof, and no other is', async () => {
    const browser = await ada.openBrowser()
    const foreign = browser.with({ origin: 'https://app.example.com.evil.example' })
    expect(await foreign.refusal(UpdateProfileDocument, PROFILE)).toMatchObject({ code: 'CSRF_FAILED', status: 403 })
    expectType(await browser.with({ origin: PAGE }).call(UpdateProfileDocument, PROFILE), 'UpdateProfileSuccess')
  })

  test('a bearer token comes first, and needs no proof', async () => {
    const browser = await ada.openBrowser()
    const bob = await app.newUser()
    const me = await browser.with({ authorization: `Bearer ${bob.accessToken}` }).call(MeDocument)
    expect(me?.id).toBe(bob.id)
  })

  test('a refresh sets the next access token', async () => {
    const browser = await ada.openBrowser()
    const first = browser.cookies.get('portcullis_access')?.value
    expectType(await browser.with({ origin: PAGE }).call(RefreshDocument), 'RefreshSuccess')
    const next = browser.cookies.get('portcullis_access')?.value
    expect(next).toMatch(/^ey/)
    expect(next).not.toBe(first)
  })
})

test('Without ACCESS_TOKEN_COOKIE no cookie signs anybody in', async () => {
  const app = await startApp()
  const ada = await app.newUser()
  const browser = await ada.openBrowser()
  expect([...browser.cookies.keys()]).toEqual(['portcullis_refresh', 'portcullis_device'])
  const cookie = `portcullis_access=${ada.accessToken}; __Host-portcullis_access=${ada.accessToken}`
  expect(await app.anonymous.with({ cookie, origin: app.url }).call(MeDocument)).toBeNull()
})

import { describe, expect, test } from 'vitest'
import { NEXT_PASSWORD, startApp, type TestApp } from '../support/app.js'
import { expectType } from '../support/client.js'
import { TEST_ENVIRONMENT } from '../support/environment.js'
import {
  ChangePasswordDocument,
  CsrfTokenDocument,
  LogoutDocument,
  MeDocument,
  RefreshDocument,
} from '../support/generated/graphql.js'

const app = await startApp()

let addresses = 0
/** An address that nobody has called from. */
function newAddress(): string {
  addresses += 1
  return `203.0.113.${addresses}`
}

const THREE_CALLS = { RATE_LIMITS: 'anonymous=3/1h;*=100000/1m' }
const from = ({ anonymous }: TestApp, address: string) => anonymous.with({ 'x-forwarded-for': address })
const renew = (server: TestApp, address: string, refreshToken: string) =>
  from(server, address).call(RefreshDocument, { input: { refreshToken } })
const refusalOf = (server: TestApp, address: string, refreshToken: string) =>
  from(server, address).refusal(RefreshDocument, { input: { refreshToken } })
const refused = { code: 'RATE_LIMITED', extensions: { limit: 3 } }

describe('who shares an address with others that have used up its calls', () => {
  const OUR_KEY = TEST_ENVIRONMENT.SECRET_KEY ?? ''

  test.each([
    ['', OUR_KEY],
    [
      ', also of one that began before SECRET_KEY was replaced',
      `a-newer-secret-key-that-is-no-secret-either,${OUR_KEY}`,
    ],
  ])('still renews a session, and signs out%s', async (_, SECRET_KEY) => {
    const [ada, address] = [await app.newUser(), newAddress()]
    const browser = await ada.openBrowser()
    const csrfToken = await browser.with({ 'x-forwarded-for': address }).call(CsrfTokenDocument)
    const server = await startApp({ env: { ...THREE_CALLS, SECRET_KEY }, beside: app })
    for (let call = 0; call < 3; call += 1) await renew(server, address, 'made up')
    expect(await refusalOf(server, address, 'made up')).toMatchObject(refused)
    expectType(await renew(server, address, ada.refreshToken), 'RefreshSuccess')

    const cookie = [...browser.cookies.values()].map(({ name, value }) => `${name}=${value}`).join('; ')
    const page = server.anonymous.with({ cookie, 'x-csrf-token': csrfToken, 'x-forwarded-for': address })
    expect((await page.execute(LogoutDocument)).errors).toEqual([])
    expect(await ada.sessions()).toHaveLength(1)
  })

  test('still renews a session that began under a SECRET_KEY which is gone by now', async () => {
    const [ada, address] = [await app.newUser(), newAddress()]
    const SECRET_KEY = 'the-secret-key-that-comes-after-that-of-the-tests'
    const HS256 = { JWT_ALGORITHM: 'HS256', JWT_SIGNING_KEY: 'a-key-for-tokens-that-needs-no-secret-key' }
    const both = await startApp({ env: { ...HS256, SECRET_KEY: `${SECRET_KEY},${OUR_KEY}` }, beside: app })
    const { authentication } = expectType(await renew(both, address, ada.refreshToken), 'RefreshSuccess')
    const server = await startApp({ env: { ...THREE_CALLS, ...HS256, SECRET_KEY }, beside: app })
    for (let call = 0; call < 3; call += 1) await renew(server, address, 'made up')
    expect(await refusalOf(server, address, 'made up')).toMatchObject(refused)
    expectType(await renew(server, address, authentication.refreshToken ?? ''), 'RefreshSuccess')
  })

  test('gains nothing by tokens of families that never were', async () => {
    const [ada, address] = [await app.newUser(), newAddress()]
    const server = await startApp({ env: THREE_CALLS, beside: app })
    const madeUp = (call: number) => `${call}`.repeat(24) + ada.refreshToken.slice(24)
    for (let call = 1; call <= 3; call += 1)
      expectType(await renew(server, address, madeUp(call)), 'InvalidRefreshTokenError')
    expect(await refusalOf(server, address, madeUp(4))).toMatchObject(refused)
  })
})

// Node.js reads each of them as the handle of the token.
const inOtherSigns = (token: string, count: number) =>
  token.slice(0, count).replace(/./g, (sign) => String.fromCharCode(sign.charCodeAt(0) + 0x100)) + token.slice(count)
const OTHER_SPELLINGS: Readonly<Record<string, (token: string) => string>> = {
  'with + and /': (token) => token.slice(0, 24).replaceAll('-', '+').replaceAll('_', '/') + token.slice(24),
  'with signs of two bytes': (token) => inOtherSigns(token, 24),
}

test.each(Object.entries(OTHER_SPELLINGS))(
  'A copy of a refresh token, spelt %s, is nobody’s, and counts for its address',
  async (_, otherwise) => {
    const server = await startApp({ env: THREE_CALLS, beside: app })
    const address = newAddress()
    let ada = await app.newUser()
    while (otherwise(ada.refreshToken) === ada.refreshToken) ada = await app.newUser()
    const spelt = otherwise(ada.refreshToken)
    expect(Buffer.from(spelt.slice(0, 24), 'base64url')).toEqual(
      Buffer.from(ada.refreshToken.slice(0, 24), 'base64url'),
    )
    for (let call = 0; call < 3; call += 1) expectType(await renew(server, address, spelt), 'InvalidRefreshTokenError')
    expect(await refusalOf(server, address, spelt)).toMatchObject(refused)
    expectType(await renew(server, address, ada.refreshToken), 'RefreshSuccess')
  },
)

const LEAVING = { RATE_LIMITS: 'logout=2/1h;*=100000/1m' }

test('Junk behind an old copy of a refresh token keeps nobody from signing out', async () => {
  const ada = await app.newUser()
  const server = await startApp({ env: LEAVING, beside: app })
  const origin = server.url.replace('127.0.0.1', 'localhost')
  const leave = (address: string, token: string) =>
    from(server, address)
      .with({ cookie: `portcullis_refresh=${token}`, origin })
      .call(LogoutDocument)
  const thief = newAddress()
  for (let call = 0; call < 3; call += 1) await leave(thief, ada.refreshToken.slice(0, 24) + `${call}`.repeat(43))
  expectType(await leave(newAddress(), ada.refreshToken), 'LogoutSuccess')
  expectType(await renew(server, newAddress(), ada.refreshToken), 'InvalidRefreshTokenError')
})

test('An old access token beside a junk cookie, without the CSRF proof, keeps nobody from signing out', async () => {
  const server = await startApp({ env: LEAVING })
  const ada = await server.newUser()
  const thief = from(server, newAddress()).with({
    ...{ authorization: `Bearer ${ada.accessToken}`, cookie: 'portcullis_refresh=junk' },
  })
  for (let call = 0; call < 3; call += 1)
    expect((await thief.refusal(LogoutDocument)).code).toBe(call < 2 ? 'CSRF_FAILED' : 'RATE_LIMITED')
  expectType(await ada.call(LogoutDocument), 'LogoutSuccess')
  expect(await ada.call(MeDocument)).toBeNull()
})

test.each([LEAVING.RATE_LIMITS, 'anonymous=2/1h;*=100000/1m'])(
  'Neighbours who sign out keep nobody from it whose access token has expired: %s',
  async (RATE_LIMITS) => {
    const ISSUER = { JWT_ISSUER: 'https://auth.example', JWT_AUDIENCE: 'https://auth.example' }
    const server = await startApp({ env: ISSUER })
    const ada = await server.newUser()
    const limited = await startApp({
      env: { RATE_LIMITS, ...ISSUER },
      beside: server,
    })
    const address = newAddress()
    for (let call = 0; call < 2; call += 1) await from(limited, address).call(LogoutDocument)
    expect((await from(limited, address).refusal(LogoutDocument)).code).toBe('RATE_LIMITED')
    limited.clock.advance('16m')
    const client = from(limited, address).with({ authorization: `Bearer ${ada.accessToken}` })
    expectType(await client.call(LogoutDocument), 'LogoutSuccess')
    expectType(await renew(limited, newAddress(), ada.refreshToken), 'InvalidRefreshTokenError')
  },
)

test('Who has kept old copies of refresh tokens keeps nobody from renewing a session, nor from signing out', async () => {
  const ada = await app.newUser()
  const current = { currentPassword: ada.password, newPassword: NEXT_PASSWORD }
  const { authentication } = expectType(
    await ada.call(ChangePasswordDocument, { input: current }),
    'ChangePasswordSuccess',
  )
  const refreshToken = authentication.refreshToken ?? ''
  const env = { RATE_LIMITS: 'authenticated=3/1h;*=100000/1m' }
  const server = await startApp({ env, beside: app })
  const [thief, owner] = [newAddress(), newAddress()]
  // The start of a token shows whose call it is, whatever follows it.
  const copy = (token: string) => token.slice(0, 24) + ada.refreshToken.slice(24)
  for (const token of [copy(refreshToken), copy(refreshToken), ada.refreshToken]) await renew(server, thief, token)
  for (const token of [refreshToken, ada.refreshToken])
    expect((await refusalOf(server, thief, token)).code).toBe('RATE_LIMITED')
  expectType(await renew(server, owner, refreshToken), 'RefreshSuccess')
})

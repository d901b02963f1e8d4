import pg from 'pg'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { NEXT_PASSWORD, PASSWORD, startApp } from '../support/app.js'
import { expectType } from '../support/client.js'
import { lockDatabase } from '../support/database-lock.js'
import { deferred } from '../support/deferred.js'
import { eventually } from '../support/eventually.js'
import { ChangePasswordDocument, MeDocument, RequestPasswordResetDocument } from '../support/generated/graphql.js'
import { proofOf, SUBJECTS } from '../support/mailbox.js'
import { createRefreshing, times } from '../support/refreshing.js'
import type { User } from '../support/user.js'

const ISSUER = { JWT_ISSUER: 'https://auth.example', JWT_AUDIENCE: 'https://auth.example' }
const app = await startApp({ env: ISSUER })
const beside = await startApp({ env: ISSUER, beside: app })
const { clock } = app
const { present, rotate, isSignedIn, liveOf } = createRefreshing(app)

describe('A change of the password while the session is renewed', () => {
  const change = (user: User, newPassword: string, currentPassword: string) =>
    user.call(ChangePasswordDocument, { input: { currentPassword, newPassword } })

  test('succeeds when the rotation commits in the middle of it', async () => {
    const ada = await app.newUser()
    const lock = await lockDatabase(
      app.installation,
      `SELECT FROM sessions WHERE id = '${ada.sessionId}' FOR NO KEY UPDATE`,
    )
    const rotation = present(ada.refreshToken, beside)
    await lock.untilWaiting(1)
    const changing = change(ada, NEXT_PASSWORD, PASSWORD)
    await lock.untilWaiting(2)
    await lock.release()
    expectType(await rotation, 'RefreshSuccess')
    const { authentication } = expectType(await changing, 'ChangePasswordSuccess')
    expect(await liveOf(ada)).toBe(1)
    await rotate(authentication.refreshToken ?? '')
  })

  test('succeeds whatever comes at the same time, and leaves one live token', async () => {
    const ada = await app.newUser()
    const passwords = [PASSWORD, NEXT_PASSWORD, 'the third of all my passwords', 'one after the third lantern']
    let { accessToken, refreshToken } = ada
    for (const [index, newPassword] of passwords.slice(1).entries()) {
      const refreshes = times(10, (each) => present(refreshToken, each % 2 === 0 ? app : beside))
      const input = { currentPassword: passwords[index] ?? '', newPassword }
      const signedIn = app.anonymous.with({ authorization: `Bearer ${accessToken}` })
      const changed = expectType(await signedIn.call(ChangePasswordDocument, { input }), 'ChangePasswordSuccess')
      await refreshes
      expect(await liveOf(ada)).toBe(1)
      accessToken = changed.authentication.accessToken
      refreshToken = await rotate(changed.authentication.refreshToken ?? '')
    }
  })

  test('leaves a copy of the token nothing that was got while it waited', async () => {
    const [ada, thief] = [await app.newUser(), { accessToken: '' }]
    const other = await ada.logIn()
    const lock = await lockDatabase(app.installation, `SELECT FROM sessions WHERE id = '${other.sessionId}' FOR UPDATE`)
    const changing = change(ada, NEXT_PASSWORD, PASSWORD)
    await lock.untilWaiting(1)
    clock.advance('10s')
    thief.accessToken = expectType(await present(ada.refreshToken), 'RefreshSuccess').authentication.accessToken
    clock.advance('10s')
    await lock.release()
    const { authentication } = expectType(await changing, 'ChangePasswordSuccess')
    expect(await isSignedIn(thief)).toBe(false)
    expect(await isSignedIn(authentication)).toBe(true)
  })

  test('leaves a copy of the token nothing by a replay that it has overtaken', async () => {
    const ada = await app.newUser()
    await rotate(ada.refreshToken)
    const { query } = pg.Client.prototype
    const [waits, changed] = [deferred(), deferred()]
    const slow = vi.spyOn(pg.Client.prototype, 'query').mockImplementation(function (
      this: pg.Client,
      ...args: unknown[]
    ) {
      if (!JSON.stringify(args.slice(0, 2)).includes('REPLAYED')) return Reflect.apply(query, this, args)
      waits.resolve()
      return changed.promise.then(() => Reflect.apply(query, this, args))
    } as typeof query)
    onTestFinished(() => slow.mockRestore())
    const replay = present(ada.refreshToken)
    await waits.promise
    clock.advance('10s')
    const { authentication } = expectType(await change(ada, NEXT_PASSWORD, PASSWORD), 'ChangePasswordSuccess')
    changed.resolve()
    const thief = expectType(await replay, 'RefreshSuccess').authentication
    expect(await isSignedIn(thief)).toBe(false)
    expect(await isSignedIn(authentication)).toBe(true)
  })
})

/** Runs `work` while a reset has the account: it must have nothing meanwhile that a reset takes. */
async function duringReset<T>(user: User, work: () => Promise<T>): Promise<T> {
  const account = await lockDatabase(app.installation, `SELECT FROM users WHERE id = '${user.id}' FOR UPDATE`)
  const result = work()
  await account.untilWaiting(1)
  for (const table of ['sessions', 'login_throttles', 'one_time_tokens']) {
    const rows = `SELECT FROM ${table} WHERE user_id = '${user.id}' FOR UPDATE NOWAIT`
    await lockDatabase(app.installation, rows).then((free) => free.release())
  }
  await account.release()
  return result
}

describe('While the password is being reset, neither waits for the other', () => {
  test('with a copy of a refresh token', async () => {
    const ada = await app.newUser()
    await rotate(ada.refreshToken)
    clock.advance('31s')
    const replay = await duringReset(ada, () => present(ada.refreshToken))
    expect(expectType(replay, 'InvalidRefreshTokenError').reason).toBe('REUSED')
  })

  test('with the last guess at the current password', async () => {
    const ada = await app.newUser()
    const input = { currentPassword: 'not my password at all', newPassword: NEXT_PASSWORD }
    const guess = () => ada.call(ChangePasswordDocument, { input })
    for (let time = 0; time < 19; time += 1) await guess()
    expectType(await duringReset(ada, guess), 'InvalidCredentialsError')
    expect(await ada.call(MeDocument)).toBeNull()
  })

  test('with another mail that is asked for', async () => {
    const ada = await app.newUser()
    const request = () => ada.call(RequestPasswordResetDocument, { input: { email: ada.email } })
    await request()
    const first = proofOf(await app.mail(ada.email, SUBJECTS.reset))
    await duringReset(ada, request)
    await eventually(async () => proofOf(await app.mail(ada.email, SUBJECTS.reset)).token).not.toBe(first.token)
  })
})

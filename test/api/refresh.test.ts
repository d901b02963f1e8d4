import pg from 'pg'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { NEXT_PASSWORD, startApp } from '../support/app.js'
import { expectType } from '../support/client.js'
import { ChangePasswordDocument, LogoutDocument, MeDocument, RefreshDocument } from '../support/generated/graphql.js'
import { SUBJECTS } from '../support/mailbox.js'

const app = await startApp()
const { anonymous, clock } = app

const present = (refreshToken: string) => anonymous.execute(RefreshDocument, { input: { refreshToken } })
const refresh = async (refreshToken: string) => (await present(refreshToken)).data.refresh

async function rotate(refreshToken: string): Promise<string> {
  const { authentication } = expectType(await refresh(refreshToken), 'RefreshSuccess')
  return authentication.refreshToken ?? expect.fail('The refresh token is not in the answer')
}
const reasonOf = async (refreshToken: string) =>
  expectType(await refresh(refreshToken), 'InvalidRefreshTokenError').reason

test('A token that could not be rotated, though it is live, is no copy', async () => {
  const ada = await app.newUser()
  const { query } = pg.Client.prototype
  let lost = 0
  const losing = vi.spyOn(pg.Client.prototype, 'query').mockImplementation(function (
    this: pg.Client,
    ...args: unknown[]
  ) {
    const [{ text = '' }] = args as [{ text?: string }]
    if (!text.includes("SET state = 'ROTATED'") || lost === 2) return Reflect.apply(query, this, args)
    lost += 1
    // As when the clock of another process is ahead: the session is over there, and not here.
    return Reflect.apply(query, this, ['SELECT WHERE false', args.at(-1)])
  } as typeof query)
  onTestFinished(() => losing.mockRestore())
  const answer = await present(ada.refreshToken)
  expect(lost).toBe(2)
  expectType(answer.data.refresh, 'RefreshSuccess')
  expect(await app.eventsFrom(answer)).toEqual(['TOKEN_REFRESHED'])
})

describe('a refresh token', () => {
  test('is traded for a new pair of the same session', async () => {
    const ada = await app.newUser()
    clock.advance('10m')
    const answer = await present(ada.refreshToken)
    const { authentication, outcome } = expectType(answer.data.refresh, 'RefreshSuccess')
    expect(outcome).toBe('ROTATED')
    expect(authentication.refreshToken).not.toBe(ada.refreshToken)
    expect(authentication.accessToken).not.toBe(ada.accessToken)
    expect(authentication.session).toMatchObject({ id: ada.sessionId, isCurrent: true })
    expect(Date.parse(authentication.session.lastRotationAt ?? '')).toBeGreaterThan(
      Date.parse(ada.authentication.session.lastActivityAt),
    )
    expect(await app.eventsFrom(answer)).toEqual(['TOKEN_REFRESHED'])
    const renewed = anonymous.with({ authorization: `Bearer ${authentication.accessToken}` })
    expect((await renewed.call(MeDocument))?.id).toBe(ada.id)
  })

  test('never makes the session longer than it was to be', async () => {
    const ada = await app.newUser()
    clock.advance('3d')
    const later = await ada.refreshed()
    expect(later.authentication.refreshExpiresAt).toBe(ada.authentication.refreshExpiresAt)
  })

  test('presented again within 30 seconds gives the same successor again', async () => {
    const ada = await app.newUser()
    const successor = await rotate(ada.refreshToken)
    clock.advance('25s')
    const again = await present(ada.refreshToken)
    const { authentication, outcome } = expectType(again.data.refresh, 'RefreshSuccess')
    expect(outcome).toBe('REPLAYED')
    expect(authentication.refreshToken).toBe(successor)
    expect(await app.eventsFrom(again)).toEqual(['TOKEN_REFRESHED'])
    await rotate(successor)
  })

  test('presented twenty times at once has one successor', async () => {
    const ada = await app.newUser()
    const results = await Promise.all(Array.from({ length: 20 }, () => refresh(ada.refreshToken)))
    const successes = results.map((result) => expectType(result, 'RefreshSuccess'))
    expect(new Set(successes.map(({ authentication }) => authentication.refreshToken)).size).toBe(1)
    expect(successes.filter(({ outcome }) => outcome === 'ROTATED')).toHaveLength(1)
    const events = await app.eventsOf(ada, { types: ['TOKEN_REFRESHED'] })
    expect(events).toHaveLength(20)
    expect(events.filter(({ metadata }) => metadata.outcome !== 'REPLAYED')).toHaveLength(1)
    await rotate(successes[0]?.authentication.refreshToken ?? '')
  })
})

describe('a refresh token that was used before', () => {
  test('ends its session when it comes after the grace period, and the owner is told', async () => {
    const ada = await app.newUser()
    const other = await ada.logIn()
    const successor = await rotate(ada.refreshToken)
    clock.advance('31s')
    const answer = await present(ada.refreshToken)
    expect(answer.data.refresh).toEqual({
      ...{ __typename: 'InvalidRefreshTokenError', code: 'INVALID_REFRESH_TOKEN', reason: 'REUSED' },
      message: 'Sign in again.',
    })

    expect((await app.eventsFrom(answer)).sort()).toEqual(['SESSION_TERMINATED', 'TOKEN_REUSE_DETECTED'])
    const [alarm] = await app.eventsOf(ada, { types: ['TOKEN_REUSE_DETECTED'] })
    expect(alarm).toMatchObject({ riskLevel: 'HIGH', success: false, sessionId: ada.sessionId })
    await app.mail(ada.email, SUBJECTS.sessionEnded)

    expect(await ada.call(MeDocument)).toBeNull()
    expect(await reasonOf(successor)).toBe('REVOKED')
    const [refused] = await app.eventsOf(ada, { types: ['TOKEN_REFRESHED'], success: false })
    expect(refused).toMatchObject({ sessionId: ada.sessionId, metadata: { reason: 'REVOKED' } })
    const ended = (await other.sessions(true)).find(({ id }) => id === ada.sessionId)
    expect(ended).toMatchObject({ isActive: false, endReason: 'TOKEN_REUSED' })
    expect(await other.sessions()).toHaveLength(1)
  })

  test('ends its session also within the grace period, once its successor was used', async () => {
    const ada = await app.newUser()
    const successor = await rotate(ada.refreshToken)
    const next = await rotate(successor)
    expect(await reasonOf(ada.refreshToken)).toBe('REUSED')
    expect(await reasonOf(next)).toBe('REVOKED')
    expect(await ada.call(MeDocument)).toBeNull()
  })

  test('tells of it once: afterwards it is one of an ended session', async () => {
    const ada = await app.newUser()
    await rotate(ada.refreshToken)
    clock.advance('31s')
    const reasons = []
    for (let time = 1; time <= 3; time += 1) reasons.push(await reasonOf(ada.refreshToken))
    expect(reasons).toEqual(['REUSED', 'REVOKED', 'REVOKED'])
    expect(await app.eventsOf(ada, { types: ['TOKEN_REUSE_DETECTED'] })).toHaveLength(1)
  })

  test('presented by ten thieves at once ends its session once', async () => {
    const ada = await app.newUser()
    await rotate(ada.refreshToken)
    clock.advance('31s')
    const reasons = await Promise.all(Array.from({ length: 10 }, () => reasonOf(ada.refreshToken)))
    expect(reasons.filter((reason) => reason === 'REUSED')).toHaveLength(1)
    for (const type of ['SESSION_TERMINATED', 'TOKEN_REUSE_DETECTED'] as const)
      expect(await app.eventsOf(ada, { types: [type] })).toHaveLength(1)
    const mails = await app.mailsTo(ada.email)
    expect(mails.filter(({ subject }) => subject === SUBJECTS.sessionEnded)).toHaveLength(1)
  })

  test('ends its session at once where there is no grace period', async () => {
    const strict = await startApp({ env: { REFRESH_GRACE_PERIOD: '0s' } })
    const ada = await strict.newUser()
    await ada.refreshed()
    const again = await strict.anonymous.call(RefreshDocument, { input: { refreshToken: ada.refreshToken } })
    expect(expectType(again, 'InvalidRefreshTokenError').reason).toBe('REUSED')
  })
})

test('A rotation whose answer the database could not give any more is no theft, though there is no grace period', async () => {
  const strict = await startApp({ env: { REFRESH_GRACE_PERIOD: '0s' } })
  const ada = await strict.newUser()
  const { query } = pg.Client.prototype
  let lost = 0
  const losing = vi.spyOn(pg.Client.prototype, 'query').mockImplementation(function (
    this: pg.Client,
    ...args: unknown[]
  ) {
    const [statement, values, done] = args as [{ text?: string }, unknown, (error: Error) => void]
    if (lost > 0 || !statement.text?.includes("SET state = 'ROTATED'")) return Reflect.apply(query, this, args)
    lost += 1
    // Committed, and then the connection is gone.
    const fail = () => done(new Error('Connection terminated unexpectedly'))
    return Reflect.apply(query, this, [statement, values, fail])
  } as typeof query)
  onTestFinished(() => losing.mockRestore())
  const next = await ada.refreshed()
  expect(lost).toBe(1)
  await next.refreshed()
  expect(await strict.eventsOf(ada, { types: ['TOKEN_REUSE_DETECTED'] })).toEqual([])
})

describe('refreshing is refused', () => {
  test('without a token: MISSING', async () => {
    for (const input of [undefined, null, {}, { refreshToken: null }]) {
      const result = await anonymous.call(RefreshDocument, input === undefined ? {} : { input })
      expect(result).toMatchObject({ code: 'INVALID_REFRESH_TOKEN', reason: 'MISSING' })
    }
  })

  test.each([
    ['made up', async () => 'A'.repeat(67)],
    ['of another shape', async () => 'not a token'],
    ['an access token', async () => (await app.newUser()).accessToken],
    [
      'of a known family, with another secret',
      async () => {
        const { refreshToken } = await app.newUser()
        return refreshToken.slice(0, 24) + 'A'.repeat(refreshToken.length - 24)
      },
    ],
  ])('with one that is %s: INVALID', async (_, obtain) => {
    expect(await reasonOf(await obtain())).toBe('INVALID')
  })

  test('a made-up token of a known family ends nothing', async () => {
    const ada = await app.newUser()
    await reasonOf(`${ada.refreshToken.slice(0, -1)}${ada.refreshToken.endsWith('A') ? 'B' : 'A'}`)
    expect(await app.eventsOf(ada, { types: ['TOKEN_REUSE_DETECTED', 'SESSION_TERMINATED'] })).toEqual([])
    await ada.refreshed()
  })

  test('after the session was signed out: REVOKED', async () => {
    const ada = await app.newUser()
    await ada.call(LogoutDocument)
    expect(await reasonOf(ada.refreshToken)).toBe('REVOKED')
  })

  test('after the account was deactivated: REVOKED', async () => {
    const ada = await app.newUser()
    await app.operator.deactivate(ada.email)
    expect(await reasonOf(ada.refreshToken)).toBe('REVOKED')
  })

  test('after the session was ended by its lifetime: EXPIRED, whoever asks and as often', async () => {
    const ada = await app.newUser()
    clock.advance('7d')
    expect(await reasonOf(ada.refreshToken)).toBe('EXPIRED')
    await app.operator.purge()
    expect(await reasonOf(ada.refreshToken)).toBe('EXPIRED')
  })
})

test('A replay within the grace period, while the password is changed, is no theft', async () => {
  for (let round = 0; round < 12; round += 1) {
    const ada = await app.newUser()
    await rotate(ada.refreshToken)
    let isChanging = true
    const replay = async () => {
      while (isChanging) {
        const result = await refresh(ada.refreshToken)
        if (result.__typename !== 'RefreshSuccess') expect(result).toMatchObject({ reason: 'INVALID' })
      }
    }
    const input = { currentPassword: ada.password, newPassword: NEXT_PASSWORD }
    const changing = ada.call(ChangePasswordDocument, { input }).finally(() => {
      isChanging = false
    })
    const [changed] = await Promise.all([changing, ...Array.from({ length: 3 }, replay)])
    await rotate(expectType(changed, 'ChangePasswordSuccess').authentication.refreshToken ?? '')
  }
})

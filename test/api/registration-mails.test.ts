import { expect, test } from 'vitest'
import { NEXT_PASSWORD, startApp, type TestApp } from '../support/app.js'
import { expectType } from '../support/client.js'
import { openDatabase } from '../support/database.js'
import { lockDatabase } from '../support/database-lock.js'
import {
  ChangePasswordDocument,
  ExchangeTokenDocument,
  LoginDocument,
  RequestPasswordResetDocument,
  ResendVerificationEmailDocument,
  ResetPasswordDocument,
  VerifyEmailDocument,
} from '../support/generated/graphql.js'
import { proofOf, SUBJECTS } from '../support/mailbox.js'

/** Gives every worker something to do that lasts until `release`. */
async function occupyWorkers(app: TestApp) {
  const others = [await app.register(), await app.register()]
  for (const { email } of others) await app.mailsTo(email)
  const quotas = await lockDatabase(app.installation, 'LOCK TABLE mail_quotas IN EXCLUSIVE MODE')
  for (const { email } of others) {
    await app.anonymous.call(ResendVerificationEmailDocument, { input: { email } })
    app.operator.wake('mail-request')
  }
  await quotas.untilWaiting(2)
  return quotas
}

test('with PASSWORD_HISTORY=0 the same password may be chosen again, and whoever has one is not asked for one', async () => {
  const open = await startApp({ env: { REQUIRE_VERIFIED_EMAIL: 'false', PASSWORD_HISTORY: '0' } })
  const { email, password } = await open.register()
  const credentials = { identifier: email, password, tokenDelivery: 'BODY' } as const
  const login = expectType(await open.anonymous.call(LoginDocument, { input: credentials }), 'LoginSuccess')
  const ada = open.anonymous.with({ authorization: `Bearer ${login.authentication.accessToken}` })
  const input = { currentPassword: password, newPassword: password }
  expectType(await ada.call(ChangePasswordDocument, { input }), 'ChangePasswordSuccess')
  const { token } = proofOf(await open.mail(email, SUBJECTS.verification))
  expectType(await open.anonymous.call(VerifyEmailDocument, { input: { token } }), 'VerifyEmailSuccess')
  expect((await open.mailsTo(email)).map(({ subject }) => subject)).not.toContain(SUBJECTS.reset)
})

test('a mail that waits to be sent is not, once its account is deactivated', async () => {
  const open = await startApp({ env: { REQUIRE_VERIFIED_EMAIL: 'false' } })
  const workers = await occupyWorkers(open)
  const { email } = await open.register()
  await open.operator.deactivate(email)
  await workers.release()
  expect(await open.mailsTo(email)).toEqual([])
})

test('whoever confirms an address just after its owner has registered it gets the account without the words of another', async () => {
  const open = await startApp({ env: { REQUIRE_VERIFIED_EMAIL: 'false' } })
  const { email, password } = await open.register({ displayName: 'Mallory' })
  const { token } = proofOf(await open.mail(email, SUBJECTS.verification))
  const workers = await occupyWorkers(open)
  await open.register({ email, password: NEXT_PASSWORD })
  const verified = await open.anonymous.call(VerifyEmailDocument, { input: { token } })
  await workers.release()
  const exchange = { token: expectType(verified, 'VerifyEmailSuccess').exchangeToken, tokenDelivery: 'BODY' } as const
  const result = await open.anonymous.call(ExchangeTokenDocument, { input: exchange })
  const { authentication } = expectType(result, 'ExchangeTokenSuccess')
  expect(authentication.user.displayName).toBe(email.split('@')[0])
  // Nor is it kept from where he has registered.
  const { query } = await openDatabase(open.installation)
  const kept = await query('SELECT registered_from FROM users WHERE email = $1', [email])
  expect(kept.rows).toEqual([{ registered_from: null }])
  const login = await open.anonymous.call(LoginDocument, { input: { identifier: email, password } })
  expectType(login, 'InvalidCredentialsError')
})

test('an address that is confirmed while another mail is asked for gets none that would confirm it again', async () => {
  const app = await startApp()
  const { anonymous } = app
  const { email } = await app.register()
  await anonymous.call(RequestPasswordResetDocument, { input: { email } })
  const { token } = proofOf(await app.mail(email, SUBJECTS.reset))
  const empty = `SELECT FROM users u WHERE email = '${email}' AND NOT EXISTS (
    SELECT FROM password_history WHERE user_id = u.id) FOR UPDATE`
  const lock = await lockDatabase(app.installation, empty)
  const confirmed = anonymous.call(ResetPasswordDocument, { input: { token, newPassword: NEXT_PASSWORD } })
  await lock.untilWaiting(1)
  await anonymous.call(ResendVerificationEmailDocument, { input: { email } })
  app.operator.wake('mail-request')
  await lock.untilWaiting(2)
  await lock.release()
  expectType(await confirmed, 'ResetPasswordSuccess')
  const subjects = (await app.mailsTo(email)).map(({ subject }) => subject)
  expect(subjects.filter((subject) => subject === SUBJECTS.verification)).toHaveLength(1)
})

test('a reset of a registration that is gone while it is made is refused as any other', async () => {
  const app = await startApp()
  const { email } = await app.register()
  await app.anonymous.call(RequestPasswordResetDocument, { input: { email } })
  const { token } = proofOf(await app.mail(email, SUBJECTS.reset))
  const users = await lockDatabase(app.installation, 'LOCK TABLE users IN ACCESS EXCLUSIVE MODE')
  const reset = app.anonymous.call(ResetPasswordDocument, { input: { token, newPassword: NEXT_PASSWORD } })
  await users.untilWaiting(1)
  await users.extend(`DELETE FROM users WHERE email = '${email}'`)
  await users.release()
  expectType(await reset, 'InvalidTokenError')
})

test('an address can be verified whatever was guessed at before it had an account, and since', async () => {
  const open = await startApp({ env: { REQUIRE_VERIFIED_EMAIL: 'false' } })
  const account = open.newAccount()
  const guess = { input: { identifier: account.email, password: NEXT_PASSWORD } }
  expectType(await open.anonymous.call(LoginDocument, guess), 'InvalidCredentialsError')
  await open.register(account)
  expectType(await open.anonymous.call(LoginDocument, guess), 'InvalidCredentialsError')
  const { token } = proofOf(await open.mail(account.email, SUBJECTS.verification))
  expectType(await open.anonymous.call(VerifyEmailDocument, { input: { token } }), 'VerifyEmailSuccess')
})

test('a reset leaves an account as it is whose address was proven before, whoever has registered that', async () => {
  const app = await startApp()
  const ada = await app.newUser({ displayName: 'Ada' })
  await app.register({ email: ada.email, displayName: 'Mallory' })
  await app.anonymous.call(RequestPasswordResetDocument, { input: { email: ada.email } })
  const { token } = proofOf(await app.mail(ada.email, SUBJECTS.reset))
  const reset = await app.anonymous.call(ResetPasswordDocument, { input: { token, newPassword: NEXT_PASSWORD } })
  expectType(reset, 'ResetPasswordSuccess')
  const { user } = (await ada.logIn({ password: NEXT_PASSWORD })).authentication
  const { displayName, emailVerifiedAt } = ada.authentication.user
  expect(user).toMatchObject({ displayName, emailVerifiedAt })
})

test('of two that prove an address by one mail at the same moment, the log tells of the one that came too late', async () => {
  const app = await startApp()
  const { email } = await app.register()
  const { token } = proofOf(await app.mail(email, SUBJECTS.verification))
  // Both have found the token before either uses it up.
  const lock = await lockDatabase(app.installation, 'LOCK TABLE one_time_tokens IN SHARE MODE')
  const answers = [1, 2].map(() => app.anonymous.execute(VerifyEmailDocument, { input: { token } }))
  await lock.untilWaiting(2)
  await lock.release()
  const requests = (await Promise.all(answers)).map(({ requestId }) => requestId)
  const proofs = (await app.allEvents()).filter(({ correlationId }) => requests.includes(correlationId ?? ''))
  expect(proofs.map(({ type, success }) => `${type} ${success}`).sort()).toEqual([
    'EMAIL_VERIFIED false',
    'EMAIL_VERIFIED true',
  ])
})

test('each of two registrations of one address is told of as one of its own', async () => {
  const app = await startApp()
  const { email } = await app.register()
  await app.mailsTo(email)
  const owner = await app.verify(await app.register({ email, password: NEXT_PASSWORD }))
  expect(await app.eventsOf(owner, { types: ['REGISTERED'] })).toMatchObject([{ success: true }])
})

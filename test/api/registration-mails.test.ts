import { expect, test } from 'vitest'
import { NEXT_PASSWORD, startApp } from '../support/app.js'
import { expectType } from '../support/client.js'
import { lockDatabase } from '../support/database-lock.js'
import {
  ChangePasswordDocument,
  LoginDocument,
  RequestPasswordResetDocument,
  ResendVerificationEmailDocument,
  ResetPasswordDocument,
  VerifyEmailDocument,
} from '../support/generated/graphql.js'
import { proofOf, SUBJECTS } from '../support/mailbox.js'

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
  const others = [await open.register(), await open.register()]
  for (const { email } of others) await open.mailsTo(email)
  const quotas = await lockDatabase(open.installation, 'LOCK TABLE mail_quotas IN EXCLUSIVE MODE')
  for (const { email } of others) await open.anonymous.call(ResendVerificationEmailDocument, { input: { email } })
  open.operator.wake('mail-request')
  // Every worker has something else to do.
  await quotas.untilWaiting(2)
  const { email } = await open.register()
  await open.operator.deactivate(email)
  await quotas.release()
  expect(await open.mailsTo(email)).toEqual([])
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

import { expect, test } from 'vitest'
import { startApp } from '../support/app.js'
import { LoginDocument, RequestPasswordResetDocument } from '../support/generated/graphql.js'
import { SUBJECTS } from '../support/mailbox.js'

const app = await startApp()

test('A mail to an address that nobody has proven carries no name that a stranger has chosen', async () => {
  const { email } = await app.register({ displayName: 'winner! Call 0800 555' })
  await app.anonymous.call(RequestPasswordResetDocument, { input: { email } })
  expect((await app.mail(email, SUBJECTS.reset)).text).not.toContain('winner')
})

test('A mail about a lock carries no words of who has caused it', async () => {
  const ada = await app.newUser()
  const mallory = app.anonymous.with({ 'user-agent': 'www.evil.example/verify/1 x' })
  const input = { identifier: ada.email, password: 'a guess', tokenDelivery: 'BODY' } as const
  for (let time = 1; time <= 5; time += 1) await mallory.call(LoginDocument, { input })
  expect((await app.mail(ada.email, SUBJECTS.locked)).text).not.toContain('evil.example')
})

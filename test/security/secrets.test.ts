import pg from 'pg'
import { expect, test } from 'vitest'
import { PASSWORD, startApp } from '../support/app.js'
import { expectType } from '../support/client.js'
import { TEST_ENVIRONMENT } from '../support/environment.js'
import {
  AuditChainDocument,
  LoginDocument,
  MeDocument,
  RefreshDocument,
  VerifyEmailDocument,
} from '../support/generated/graphql.js'
import { proofOf, SUBJECTS } from '../support/mailbox.js'
import { expectNoSecrets } from '../support/secrets.js'

// Every server that a test starts ends with this search over its log, its audit rows and its mails; every answer is
// searched too: see test/support. Here is shown that the search finds what it looks for.
test('the search that every test ends with finds passwords and tokens where they must not be', async () => {
  const app = await startApp()
  const ada = await app.newUser()
  const { token } = proofOf(await app.mail(ada.email, SUBJECTS.verification))
  const database = new pg.Client(app.installation.databaseUrl)
  await database.connect()
  // Sealed events are guarded by triggers.
  await database.query(`SET session_replication_role = 'replica'`)
  const plant = async (text: string) => {
    await database.query(`UPDATE audit_inbox SET metadata = metadata || jsonb_build_object('planted', $1::text)`, [
      text,
    ])
    await database.query(`UPDATE audit_events SET metadata = metadata || jsonb_build_object('planted', $1::text)`, [
      text,
    ])
  }
  try {
    await expectNoSecrets(database, app.log.lines)
    for (const secret of [PASSWORD, ada.accessToken, ada.refreshToken]) {
      await expect(expectNoSecrets(database, [`a line with ${secret}`])).rejects.toThrow('a line with')
      await plant(`a row with ${secret}`)
      await expect(expectNoSecrets(database, [])).rejects.toThrow('a row with')
      await plant('nothing')
    }
    await app.anonymous.call(VerifyEmailDocument, { input: { token } })
    await expect(expectNoSecrets(database, [`a line with ${token}`])).rejects.toThrow('a line with')
    await expectNoSecrets(database, [])
  } finally {
    await database.end()
  }
})

const env = { PUBLIC_URL: 'http://auth.example.com' }

test('a new SECRET_KEY before the old one keeps sessions, tokens, codes and waiting mails working', async () => {
  const before = await startApp({ env })
  const ada = await before.newUser()
  const pending = await before.register()
  const { code } = proofOf(await before.mail(pending.email, SUBJECTS.verification))

  const after = await startApp({
    env: { ...env, SECRET_KEY: `a-new-key-that-comes-before-the-old-one,${TEST_ENVIRONMENT.SECRET_KEY}` },
    beside: before,
  })
  const authorization = `Bearer ${ada.accessToken}`
  expect(await after.anonymous.with({ authorization }).call(MeDocument)).toMatchObject({ id: ada.id })
  const { refreshToken } = ada
  expectType(await after.anonymous.call(RefreshDocument, { input: { refreshToken } }), 'RefreshSuccess')
  const confirmed = await after.anonymous.call(VerifyEmailDocument, { input: { email: pending.email, code } })
  expectType(confirmed, 'VerifyEmailSuccess')
  const credentials = { identifier: pending.email, password: PASSWORD, tokenDelivery: 'BODY' } as const
  const { authentication } = expectType(
    await after.anonymous.call(LoginDocument, { input: credentials }),
    'LoginSuccess',
  )
  // What the new process signs, the old one accepts.
  const next = before.anonymous.with({ authorization: `Bearer ${authentication.accessToken}` })
  expect(await next.call(MeDocument)).toMatchObject({ email: pending.email })
})

test('the old SECRET_KEY can go once what is stored was sealed anew: keys still sign, and checkpoints still count', async () => {
  const [old, next] = [TEST_ENVIRONMENT.SECRET_KEY, 'a-new-key-that-takes-the-place-of-the-old-one']
  const before = await startApp({ env })
  const auditor = await before.auditor()
  expect(await before.allEvents()).not.toEqual([])
  before.clock.advance('11m')
  await before.operator.sign()
  await before.operator.rotateKeys()
  const both = await startApp({ env: { ...env, SECRET_KEY: `${next},${old}` }, beside: before })
  await both.operator.purge()

  const after = await startApp({ env: { ...env, SECRET_KEY: next }, beside: before })
  const chain = await after.anonymous.with({ authorization: `Bearer ${auditor.accessToken}` }).call(AuditChainDocument)
  expect(chain).toMatchObject({ isIntact: true, checkpoints: 1 })
})

import { describe, expect, test } from 'vitest'
import { PASSWORD, startApp, type TestApp } from '../support/app.js'
import { createClient, expectType } from '../support/client.js'
import { openDatabase } from '../support/database.js'
import { TEST_ENVIRONMENT } from '../support/environment.js'
import { eventually } from '../support/eventually.js'
import {
  AuditChainDocument,
  LoginDocument,
  MeDocument,
  RefreshDocument,
  VerifyEmailDocument,
} from '../support/generated/graphql.js'
import { proofOf, SUBJECTS } from '../support/mailbox.js'
import { openPage } from '../support/pages.js'
import { expectNoSecrets } from '../support/secrets.js'
import { stealKey } from '../support/signing.js'

// Every server that a test starts ends with this search over its log, its audit rows and its mails; every answer is
// searched too: see test/support. Here is shown that the search finds what it looks for.
describe('the search that every test ends with', () => {
  /** What an account and its server have of each kind of secret. */
  async function secretsOf(app: TestApp): Promise<Record<string, string>> {
    const ada = await app.newUser()
    const { code } = proofOf(await app.mail(ada.email, SUBJECTS.verification))
    const browser = await ada.openBrowser()
    await browser.withCsrfToken()
    const cookies = [...browser.cookies.values()].map(({ name, value }) => [`the cookie ${name}`, value])
    const { d = '' } = (await stealKey(app)).privateJwk
    return {
      ...{ 'the password': PASSWORD, 'the access token': ada.accessToken, 'the refresh token': ada.refreshToken },
      ...{ 'the six digits': code, ...Object.fromEntries(cookies) },
      ...{ 'the key of the settings': TEST_ENVIRONMENT.SECRET_KEY ?? '', 'the private key': d },
      'the private key in hex': Buffer.from(d, 'base64url').toString('hex'),
    }
  }

  test('finds each kind of secret in a log line, an audit row, an error, and in a mail that it was not meant for', async () => {
    const app = await startApp({ env: { ACCESS_TOKEN_COOKIE: 'true' } })
    const secrets = await secretsOf(app)
    expect(Object.keys(secrets)).toHaveLength(11)
    await app.register({ email: 'other@example.com' })
    await app.mail('other@example.com', SUBJECTS.verification)
    const database = await openDatabase(app.installation)
    const { tamper, query } = database
    const inAudit = async (text: string) => {
      // Events wait in the one table until they get their places in the other.
      for (const table of ['audit_inbox', 'audit_events'])
        await tamper(`UPDATE ${table} SET metadata = metadata || jsonb_build_object('planted', $1::text)`, [text])
    }
    const inMail = (column: string) => (text: string) =>
      query(`UPDATE mailbox_messages SET ${column} = $1 WHERE recipient = 'other@example.com'`, [text])
    const places = [inAudit, inMail('subject'), inMail('text'), inMail('html')]

    await expectNoSecrets(database, [])
    for (const [what, secret] of Object.entries(secrets)) {
      const text = `planted: ${secret}, here`
      await expect(expectNoSecrets(database, [JSON.stringify({ text })]), what).rejects.toThrow('planted')
      for (const plant of places) {
        await plant(text)
        await expect(expectNoSecrets(database, []), what).rejects.toThrow('planted')
        await plant('nothing')
      }
    }
    await expectNoSecrets(database, [])
  })

  test('finds a secret in an error or a message that comes back, and tells six digits from those of a number, an instant or an id', async () => {
    const app = await startApp()
    for (const secret of Object.values(await secretsOf(app))) {
      const message = `It is\n${secret}\nnow`
      const errors = [{ message, extensions: { code: 'X' } }]
      for (const answer of [{ errors }, { data: { result: { violations: [{ message }] } } }]) {
        const client = createClient(async () => Response.json(answer))
        await expect(client.post('{}')).rejects.toThrow('An answer tells a secret')
      }
    }
    const { code } = proofOf(await app.mail('person1@example.com', SUBJECTS.verification))
    const harmless = [
      `${code}7`,
      `8${code}`,
      `0.${code}`,
      `2026-11-25T10:00:00.${code}Z`,
      `a${code}`,
      `1-${code}-2`,
      `#${code}`,
    ]
    await expectNoSecrets(
      await openDatabase(app.installation),
      harmless.map((text) => JSON.stringify({ text })),
    )
  })

  test('lets the token of a link stand in its mail only', async () => {
    const app = await startApp()
    const { email } = await app.register()
    const { token } = proofOf(await app.mail(email, SUBJECTS.verification))
    await app.anonymous.call(VerifyEmailDocument, { input: { token } })
    const database = await openDatabase(app.installation)
    await expectNoSecrets(database, [])
    await expect(expectNoSecrets(database, [`a line with ${token}`])).rejects.toThrow('a line with')
  })
})

test('the log has the path of a request without its query, where the token of a link is', async () => {
  const { url, log } = await startApp()
  const token = 'the-token-of-a-link-that-was-opened-in-a-browser'
  await openPage(`${url}/verify-email?token=${token}`)
  await eventually(() => log.lines.filter((line) => line.includes('"path":"/verify-email"'))).toHaveLength(1)
  expect(log.lines.join()).not.toContain(token)
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

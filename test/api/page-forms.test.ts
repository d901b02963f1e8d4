import { expect, test } from 'vitest'
import { NEXT_PASSWORD, startApp } from '../support/app.js'
import { startDatabaseProxy } from '../support/database-proxy.js'
import { eventually } from '../support/eventually.js'
import { RequestPasswordResetDocument } from '../support/generated/graphql.js'
import { proofOf, SUBJECTS } from '../support/mailbox.js'
import { tokenOf } from '../support/not-me.js'
import { openPage } from '../support/pages.js'

const FRONTEND = 'https://app.example.com/start'
const ISSUER = { JWT_ISSUER: 'https://auth.example', JWT_AUDIENCE: 'https://auth.example' }
const env = { ...ISSUER, FRONTEND_URL: FRONTEND }
const app = await startApp({ env })
const CONTINUE = `href="${FRONTEND}"`

async function verification() {
  const { email } = await app.register()
  return { email, ...proofOf(await app.mail(email, SUBJECTS.verification)) }
}
async function reset() {
  const { email } = await app.newUser()
  await app.anonymous.call(RequestPasswordResetDocument, { input: { email } })
  return { email, ...proofOf(await app.mail(email, SUBJECTS.reset)) }
}
async function warning() {
  const ada = await app.newUser()
  await ada.logIn({}, { 'user-agent': 'one/1.0 (x)' })
  return { ada, token: tokenOf(await app.mail(ada.email, SUBJECTS.newDevice)) }
}

test('A password that is too weak does not cost the link of a reset: the next one is taken', async () => {
  const { token } = await reset()
  const weak = await (await openPage(`${app.url}/reset-password?token=${token}`)).send({ newPassword: 'password' })
  expect(weak.status).toBe(400)
  expect(weak.html).toContain('Choose a stronger password.')
  expect(weak.fields).toMatchObject({ token, newPassword: '' })
  const done = await weak.send({ newPassword: NEXT_PASSWORD })
  expect([done.status, done.fields]).toEqual([200, {}])
})

test.each([
  ['/verify-email', verification],
  ['/reset-password', reset],
])('A code is taken with the spaces that were copied beside it: %s', async (path, begin) => {
  const { email, code } = await begin()
  const form = await (await openPage(app.url + path)).send({ email: ` ${email} `, step: 'code' })
  const done = await form.send({ code: ` ${code}\t`, newPassword: NEXT_PASSWORD })
  expect([done.status, done.fields]).toEqual([200, {}])
})

test.each([
  ['/verify-email', verification],
  ['/reset-password', reset],
  ['/not-me', warning],
])('Whoever is done is led on to FRONTEND_URL, and nobody before: %s', async (path, begin) => {
  const { token } = await begin()
  const page = await openPage(`${app.url}${path}?token=${token}`)
  expect(page.html).not.toContain(CONTINUE)
  const done = await page.send({ newPassword: NEXT_PASSWORD })
  expect(done.status).toBe(200)
  expect(done.html).toContain(CONTINUE)
})

test('While the database is away no link is called dead, and each works when it is back', async () => {
  const proxy = await startDatabaseProxy(app.installation.databaseUrl)
  const server = await startApp({ env: { ...env, DATABASE_URL: proxy.url }, beside: app })
  const links = [
    ['/verify-email', await verification()],
    ['/reset-password', await reset()],
    ['/not-me', await warning()],
  ] as const
  for (const [path, { token }] of links) {
    const page = await openPage(`${server.url}${path}?token=${token}`)
    proxy.cut()
    const refused = await page.send({ newPassword: NEXT_PASSWORD })
    expect([path, refused.status, refused.headers.get('retry-after')]).toEqual([path, 503, '2'])
    expect(refused.html).not.toContain('used before')
    const requestId = refused.headers.get('x-request-id') ?? expect.fail('It has no id')
    const told = server.log.lines
      .map((line) => JSON.parse(line))
      .filter(({ correlationId }) => correlationId === requestId)
    expect(
      told.map(({ msg }) => msg),
      path,
    ).toContain('A request was turned away')
    proxy.restore()
    await eventually(async () => (await page.send({ newPassword: NEXT_PASSWORD })).status).toBe(200)
  }
  server.log.problems.length = 0
})

test.each(['/verify-email', '/reset-password'])('A page is opened or sent, nothing else: %s', async (path) => {
  const ask = (method: string) => fetch(app.url + path, { method })
  const opened = await ask('HEAD')
  expect([opened.status, await opened.text()]).toEqual([200, ''])
  const refused = await ask('PUT')
  expect([refused.status, refused.headers.get('allow')]).toEqual([405, 'GET, POST'])
})

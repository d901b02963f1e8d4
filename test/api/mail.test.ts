import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { startApp, type TestApp } from '../support/app.js'
import { expectType } from '../support/client.js'
import { openDatabase } from '../support/database.js'
import { TEST_ENVIRONMENT } from '../support/environment.js'
import { eventually } from '../support/eventually.js'
import { RequestPasswordResetDocument, VerifyEmailDocument } from '../support/generated/graphql.js'
import { type Delivery, startSmtp } from '../support/smtp.js'

const messageIdOf = ({ source }: Delivery) => /^message-id: *(\S+)/im.exec(source)?.[1]
/** The six digits, as people read them: on a line of their own. */
const codeOf = ({ source }: Delivery) => /^(\d{6})\r?$/m.exec(source)?.[1] ?? expect.fail(`No code in ${source}`)

/** Those that have their place behind the first tries of others already: it is taken just after the failure. */
const TRY_NOW = `
  UPDATE jobs.job SET start_after = now() WHERE name = 'send-email' AND state = 'retry' AND priority < 0`

/** Resolves when so many have arrived. A mail that was refused is tried again at once, and not in a while. */
async function untilDelivered(app: TestApp, smtp: { delivered: readonly Delivery[] }, count: number): Promise<void> {
  const { query } = await openDatabase(app.installation)
  await eventually(async () => {
    await query(TRY_NOW)
    app.operator.wake('send-email')
    return smtp.delivered.length
  }, 40_000).toBe(count)
}

test('A mail that is refused for the moment arrives later, once', async () => {
  const smtp = await startSmtp({ refusals: 2 })
  const app = await startApp({ env: { SMTP_URL: smtp.url, MAIL_FROM: 'Portcullis <auth@example.com>' } })
  const { email } = await app.register()
  await untilDelivered(app, smtp, 1)
  expect(smtp.refused()).toBe(2)
  const [mail] = smtp.delivered as [Delivery]
  expect(mail.to).toEqual([email])
  expect(mail.source).toMatch(/^From: Portcullis <auth@example\.com>/m)
  expect(mail.source).toMatch(/^Subject: Verify your e-mail address/m)
  expect(messageIdOf(mail)).toMatch(/^<[0-9a-f-]{36}@portcullis>$/)
  const result = await app.anonymous.call(VerifyEmailDocument, { input: { email, code: codeOf(mail) } })
  expectType(result, 'VerifyEmailSuccess')
  // The next mail comes alone: nothing is left of the first one.
  const next = await app.register()
  await untilDelivered(app, smtp, 2)
  expect(smtp.delivered[1]?.to).toEqual([next.email])
})

test('Registering does not wait for a mail server that is away; the mail comes when it is back', async () => {
  const away = await startSmtp()
  await away.stop()
  const app = await startApp({ env: { SMTP_URL: away.url } })
  const { email } = await app.register()
  const health = async () => ((await (await fetch(`${app.url}/health`)).json()) as { mail: string }).mail
  expect(await health()).toBe('down')
  const back = await startSmtp({ port: away.port })
  await untilDelivered(app, back, 1)
  expect(back.delivered[0]?.to).toEqual([email])
})

test('Mails to a domain for which the mail server is slow, and that come again, keep no other mail waiting', async () => {
  const smtp = await startSmtp({ keepsWaiting: /@slow\.example$/ })
  const app = await startApp({ env: { SMTP_URL: smtp.url, RATE_LIMITS: '*=100000/1m' } })
  const { query } = await openDatabase(app.installation)
  for (let index = 0; index < 6; index += 1) await app.register({ email: `ada${index}@slow.example` })
  await eventually(() => smtp.refused()).toBe(6)
  await eventually(async () => {
    await query(TRY_NOW)
    app.operator.wake('send-email')
    return smtp.waiting()
  }).toBe(2)
  const { email } = await app.register()
  await eventually(() => smtp.delivered).toMatchObject([{ to: [email], waiting: 2 }])
  // What still waits for an answer would keep this server from its end.
  await smtp.stop()
})

const WAITING = `SELECT name, state, data::text || coalesce(output::text, '') AS text FROM jobs.job
  WHERE name IN ('mail-request', 'send-email') ORDER BY name`

async function startAway(): Promise<string> {
  const away = await startSmtp()
  await away.stop()
  return away.url
}

test.each([
  ['whose server is away', startAway],
  ['whose server names the recipient that it refuses', async () => (await startSmtp({ refusesRecipients: true })).url],
])(
  'A mail that waits, and %s, tells a reader of the database neither whom it is for nor what it says',
  async (_, start) => {
    const app = await startApp({ env: { SMTP_URL: await start() } })
    const { query } = await openDatabase(app.installation)
    const { email } = await app.register()
    await app.anonymous.call(RequestPasswordResetDocument, { input: { email } })
    const states = async () => (await query(WAITING)).rows.map(({ name, state }) => `${name} ${state}`)
    const tried = ['mail-request completed', 'mail-request completed', 'send-email retry', 'send-email retry']
    await eventually(states).toEqual(tried)
    for (const { text } of (await query(WAITING)).rows) {
      expect(text).not.toContain(email)
      expect(text).not.toMatch(/token=|\b\d{6}\b/)
    }
  },
)

test('Mails that wait while a new SECRET_KEY comes before the old one are sent, and what they carry is good', async () => {
  const before = await startApp({ env: { SMTP_URL: await startAway() } })
  const { query } = await openDatabase(before.installation)
  const { email } = await before.register()
  await eventually(async () => (await query(WAITING)).rows.map(({ state }) => state)).toEqual(['completed', 'retry'])
  const smtp = await startSmtp()
  const SECRET_KEY = `a-new-key-that-comes-before-the-old-one,${TEST_ENVIRONMENT.SECRET_KEY}`
  const after = await startApp({ env: { SMTP_URL: smtp.url, SECRET_KEY }, beside: before })
  await untilDelivered(after, smtp, 1)
  const code = codeOf(smtp.delivered[0] as Delivery)
  expectType(await after.anonymous.call(VerifyEmailDocument, { input: { email, code } }), 'VerifyEmailSuccess')
})

test('Whether mail can be sent is told at once, and asked for seldom, though the mail server says nothing', async () => {
  const connections: Socket[] = []
  const server = createServer((socket) => void connections.push(socket)).listen(0, '127.0.0.1')
  onTestFinished(() => void server.close(() => {}))
  await once(server, 'listening')
  const app = await startApp({ env: { SMTP_URL: `smtp://127.0.0.1:${(server.address() as AddressInfo).port}` } })
  for (let time = 1; time <= 2; time += 1) {
    expect(await (await fetch(`${app.url}/health`)).json()).toMatchObject({ status: 'degraded', mail: 'down' })
    expect(connections.map(({ readyState }) => readyState)).toEqual(['open'])
  }
  for (const socket of connections) socket.destroy()
})

test('The sandbox of /dev/mailbox is closed when mails are really sent', async () => {
  const smtp = await startSmtp()
  const app = await startApp({ env: { SMTP_URL: smtp.url } })
  expect((await fetch(`${app.url}/dev/mailbox`)).status).toBe(404)
})

import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import pg from 'pg'
import { SMTPServer } from 'smtp-server'
import { expect, onTestFinished, test } from 'vitest'
import { startApp } from '../support/app.js'
import { expectType } from '../support/client.js'
import { eventually } from '../support/eventually.js'
import { RequestPasswordResetDocument, VerifyEmailDocument } from '../support/generated/graphql.js'

interface Delivery {
  to: string[]
  source: string
}

/** An SMTP server that refuses the first messages for the moment, then takes what comes. It ends with the test. */
async function startSmtp({ refusals = 0, port = 0 } = {}) {
  const delivered: Delivery[] = []
  let refused = 0
  const server = new SMTPServer({
    disabledCommands: ['AUTH', 'STARTTLS'],
    logger: false,
    onData(stream, { envelope }, done) {
      void text(stream).then((source) => {
        if (refused < refusals) {
          refused += 1
          return done(Object.assign(new Error('Try again later'), { responseCode: 451 }))
        }
        delivered.push({ to: envelope.rcptTo.map(({ address }) => address), source })
        done()
      })
    },
  })
  server.listen(port, '127.0.0.1')
  await once(server.server, 'listening')
  const { port: actual } = server.server.address() as AddressInfo
  const stop = () => new Promise<void>((resolve) => server.close(resolve))
  onTestFinished(() => stop())
  return { url: `smtp://127.0.0.1:${actual}`, port: actual, delivered, refused: () => refused, stop }
}

const messageIdOf = ({ source }: Delivery) => /^message-id: *(\S+)/im.exec(source)?.[1]
/** The six digits, as people read them: on a line of their own. */
const codeOf = ({ source }: Delivery) => /^(\d{6})\r?$/m.exec(source)?.[1] ?? expect.fail(`No code in ${source}`)

test('A mail that is refused for the moment arrives later, once', { timeout: 60_000 }, async () => {
  const smtp = await startSmtp({ refusals: 2 })
  const app = await startApp({ env: { SMTP_URL: smtp.url, MAIL_FROM: 'Portcullis <auth@example.com>' } })
  const { email } = await app.register()
  await eventually(() => smtp.delivered.length, 40_000).toBe(1)
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
  await eventually(() => smtp.delivered.length, 40_000).toBe(2)
  expect(smtp.delivered[1]?.to).toEqual([next.email])
})

test('Registering does not wait for a mail server that is away; the mail comes when it is back', {
  timeout: 90_000,
}, async () => {
  const away = await startSmtp()
  await away.stop()
  const app = await startApp({ env: { SMTP_URL: away.url } })
  const { email } = await app.register()
  const health = async () => ((await (await fetch(`${app.url}/health`)).json()) as { mail: string }).mail
  expect(await health()).toBe('down')
  const back = await startSmtp({ port: away.port })
  await eventually(() => back.delivered.length, 60_000).toBe(1)
  expect(back.delivered[0]?.to).toEqual([email])
})

test('A mail that waits tells a reader of the database neither whom it is for nor what it says', async () => {
  const away = await startSmtp()
  await away.stop()
  const app = await startApp({ env: { SMTP_URL: away.url } })
  const { email } = await app.register()
  const database = new pg.Client(app.installation.databaseUrl)
  await database.connect()
  onTestFinished(() => database.end())
  const query = `SELECT name, data::text || coalesce(output::text, '') AS text FROM jobs.job
    WHERE name IN ('mail-request', 'send-email') ORDER BY name`
  const waiting = async () => (await database.query<{ name: string; text: string }>(query)).rows
  await app.anonymous.call(RequestPasswordResetDocument, { input: { email } })
  const expected = ['mail-request', 'mail-request', 'send-email', 'send-email']
  await eventually(async () => (await waiting()).map(({ name }) => name)).toEqual(expected)
  for (const { text } of await waiting()) {
    expect(text).not.toContain(email)
    expect(text).not.toMatch(/token=|\b\d{6}\b/)
  }
})

test('The sandbox of /dev/mailbox is closed when mails are really sent', async () => {
  const smtp = await startSmtp()
  const app = await startApp({ env: { SMTP_URL: smtp.url } })
  expect((await fetch(`${app.url}/dev/mailbox`)).status).toBe(404)
})

import { once } from 'node:events'
import { type AddressInfo, connect, createServer } from 'node:net'
import { inspect } from 'node:util'
import { SMTPServer } from 'smtp-server'
import { afterAll, beforeAll, beforeEach, expect, onTestFinished, test } from 'vitest'
import { createMailbox } from '../../src/infra/mailbox.js'
import { createSmtpMailer } from '../../src/infra/mailer.js'
import type { Sql } from '../../src/ports.js'

interface Received {
  from: string
  to: string[]
  source: string
}
const received: Received[] = []
let refusal: Error | null = null
const server = new SMTPServer({
  authOptional: true,
  disabledCommands: ['STARTTLS', 'AUTH'],
  onData: (stream, session, callback) => {
    let source = ''
    stream.on('data', (chunk) => {
      source += chunk
    })
    stream.on('end', () => {
      const from = session.envelope.mailFrom ? session.envelope.mailFrom.address : ''
      if (!refusal) received.push({ from, to: session.envelope.rcptTo.map(({ address }) => address), source })
      callback(refusal)
    })
  },
})
let url = ''
beforeAll(async () => {
  server.listen(0, '127.0.0.1')
  await once(server.server, 'listening')
  url = `smtp://127.0.0.1:${(server.server.address() as AddressInfo).port}`
})
beforeEach(() => {
  received.length = 0
  refusal = null
})
afterAll(() => new Promise<void>((resolve) => server.close(resolve)))

const message = { to: 'alice@example.com', subject: 'Verify your address', text: 'the text', html: '<p>the page</p>' }
const ID = '0190c5e8-0000-7000-8000-000000000001'

test('a mail arrives with both forms, its sender and its only recipient', async () => {
  const mailer = createSmtpMailer(url, 'Portcullis <no-reply@example.com>')
  await mailer.send(message, ID)
  mailer.close()
  expect(received).toHaveLength(1)
  expect(received[0]).toMatchObject({ from: 'no-reply@example.com', to: ['alice@example.com'] })
  for (const part of ['Subject: Verify your address', 'the text', '<p>the page</p>', 'multipart/alternative']) {
    expect(received[0]?.source).toContain(part)
  }
})

test.each([
  ['no-reply@example.com', 'no-reply@example.com'],
  ['Acme: Sign-in <no-reply@example.com>', '"Acme: Sign-in" <no-reply@example.com>'],
  ['Acme; Co. (EU) <no-reply@example.com>', '"Acme; Co. (EU)" <no-reply@example.com>'],
  ['"Acme, Inc." <no-reply@example.com>', '"Acme, Inc." <no-reply@example.com>'],
  [String.raw`"Acme \"EU\", Inc." <no-reply@example.com>`, String.raw`"Acme \"EU\", Inc." <no-reply@example.com>`],
  ['"Acme" of "Ohio" <no-reply@example.com>', String.raw`"\"Acme\" of \"Ohio\"" <no-reply@example.com>`],
])('the sender %s is one mailbox, with all of its name', async (from, header) => {
  const mailer = createSmtpMailer(url, from)
  await mailer.send(message, ID)
  mailer.close()
  expect(received[0]?.from).toBe('no-reply@example.com')
  expect(received[0]?.source).toContain(`From: ${header}\r\n`)
})

test('a mail that the server refuses is a failure, which tells its status and not its words', async () => {
  const mailer = createSmtpMailer(url, 'no-reply@example.com')
  refusal = Object.assign(new Error('4.2.2 the mailbox of alice@example.com is full'), { responseCode: 452 })
  const error = await mailer.send(message, ID).catch((reason) => reason)
  expect(error.message).toBe('The mail could not be sent: EMESSAGE, DATA, 452 4.2.2')
  expect(inspect(error)).not.toContain('alice')
  mailer.close()
})

test.each([
  'alice@example.com\r\nBcc: eve@example.com',
  'alice@example.com\nBcc: eve@example.com',
  'alice@example.com, eve@example.com',
  'Alice <alice@example.com>',
  '"alice,eve"@example.com',
  'alice',
  '',
])('not a recipient: %j', async (to) => {
  const mailer = createSmtpMailer(url, 'no-reply@example.com')
  const kept: unknown[] = []
  const sql: Sql = async (_text, values) => {
    kept.push(values)
    return []
  }
  const mailbox = createMailbox({ sql, clock: { now: () => new Date() } })
  for (const each of [mailer, mailbox]) await expect(each.send({ ...message, to }, ID)).rejects.toThrow('single plain')
  expect(received).toHaveLength(0)
  expect(kept).toHaveLength(0)
  mailer.close()
})

test('a subject cannot start another header', async () => {
  const mailer = createSmtpMailer(url, 'no-reply@example.com')
  await mailer.send({ ...message, subject: 'Hello\r\nBcc: eve@example.com\r\n\r\nbody' }, ID)
  mailer.close()
  expect(received[0]?.to).toEqual(['alice@example.com'])
  expect(received[0]?.source).not.toMatch(/^Bcc:/im)
})

test('it says whether the server can be reached', async () => {
  const mailer = createSmtpMailer(url, 'no-reply@example.com')
  expect(await mailer.isReachable()).toBe(true)
  mailer.close()
  const nowhere = createSmtpMailer('smtp://127.0.0.1:1', 'no-reply@example.com')
  expect(await nowhere.isReachable()).toBe(false)
  await expect(nowhere.send(message, ID)).rejects.toThrow()
  nowhere.close()
})

test.each([
  ['at once', ''],
  ['later', '220 hello\r\n'],
])(
  'a server that falls silent %s is not waited for',
  async (_, greeting) => {
    const silent = createServer((socket) => void socket.write(greeting))
    silent.listen(0, '127.0.0.1')
    onTestFinished(() => void silent.close())
    await once(silent, 'listening')
    const mailer = createSmtpMailer(
      `smtp://127.0.0.1:${(silent.address() as AddressInfo).port}`,
      'no-reply@example.com',
    )
    await expect(mailer.send(message, ID)).rejects.toThrow('The mail could not be sent: ETIMEDOUT')
    mailer.close()
  },
  20_000,
)

test('a server that comes to no end of its answers has no connection for ever', async () => {
  let connections = 0
  const front = createServer((socket) => {
    connections += 1
    // As many as there are in the pool, and that of who asks whether there is a server.
    if (connections > 6) return void socket.pipe(connect(Number(new URL(url).port), '127.0.0.1')).pipe(socket)
    socket.write('220 hello\r\n')
    const lines = setInterval(() => socket.write('250-and\r\n'), 10)
    socket.on('error', () => {}).once('close', () => clearInterval(lines))
  }).listen(0, '127.0.0.1')
  await once(front, 'listening')
  const { port } = front.address() as AddressInfo
  const mailer = createSmtpMailer(`smtp://127.0.0.1:${port}`, 'no-reply@example.com', 2000)
  onTestFinished(() => {
    mailer.close()
    front.close()
  })
  const isReachable = mailer.isReachable()
  const tries = await Promise.allSettled(Array.from({ length: 5 }, () => mailer.send(message, ID)))
  expect(await isReachable).toBe(false)
  // That look is still under way: another one would take another connection for ever.
  expect(await mailer.isReachable()).toBe(false)
  for (const one of tries) expect(one).toMatchObject({ reason: { message: 'The mail could not be sent: EABORT' } })
  await mailer.send(message, ID)
  expect(received).toHaveLength(1)
})

test('a mail is sent again under the same name, by which its copy can be recognised', async () => {
  const mailer = createSmtpMailer(url, 'no-reply@example.com')
  await mailer.send(message, ID)
  await mailer.send(message, ID)
  mailer.close()
  const names = received.map(({ source }) => /^Message-ID: (.*)$/im.exec(source)?.[1]?.trim())
  expect(names).toEqual([`<${ID}@portcullis>`, `<${ID}@portcullis>`])
})

test('a server with a certificate of its own making gets no mail, and the failure says why', async () => {
  const stranger = new SMTPServer({ authOptional: true })
  stranger.listen(0, '127.0.0.1')
  onTestFinished(() => new Promise<void>((resolve) => stranger.close(resolve)))
  // What a client says that does not trust it.
  stranger.on('error', () => {})
  await once(stranger.server, 'listening')
  const { port } = stranger.server.address() as AddressInfo
  const mailer = createSmtpMailer(`smtp://127.0.0.1:${port}`, 'no-reply@example.com')
  await expect(mailer.send(message, ID)).rejects.toThrow(/^The mail could not be sent: ESOCKET, CONN, .*certificate/)
  mailer.close()
})

import { setTimeout as sleep } from 'node:timers/promises'
import { createTransport } from 'nodemailer'
import { shared } from '../batches.js'
import type { Mailer } from '../ports.js'

// One plain address: no list, no display name, no line break that could start another header.
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is refused
const ADDRESS = /^[^\s\u0000-\u001f\u007f<>,;:"()[\]\\@]+@[^\s\u0000-\u001f\u007f<>,;:"()\\@]+$/

/** Throws for anything but one plain address. */
export function assertAddress(to: string): void {
  if (!ADDRESS.test(to)) throw new Error('The recipient is not a single plain e-mail address.')
}

/** As written: the library would take a colon in the name for a group, which is no sender, and leave out what is in brackets. */
function parseSender(from: string): { name: string; address: string } {
  const [, name = '', address = from] = /^([^<]*)<([^>]*)>$/.exec(from) ?? []
  const [, quoted] = /^"((?:[^"\\]|\\.)*)"$/.exec(name.trim()) ?? []
  return { name: quoted?.replace(/\\(.)/g, '$1') ?? name.trim(), address }
}

/**
 * Without the words of the server, which may name the recipient: a job that waits keeps its last error, unencrypted. Why there
 * is no connection, such as a wrong certificate, Node says by itself.
 */
function describeRefusal(error: Error): Error {
  const { code, command, response = '' } = error as { code?: string; command?: string; response?: string }
  const [status] = /^\d{3}( \d\.\d+\.\d+)?/.exec(response) ?? []
  const why = code === 'ESOCKET' && !response ? error.message : undefined
  return new Error(`The mail could not be sent: ${[code, command, status, why].filter(Boolean).join(', ')}`)
}

/** Less than the job queue waits for a mail, so that its log tells of it. */
const PATIENCE_MS = 45_000

/**
 * Sends through the SMTP server of the URL, over a small pool of connections. Rejects when the server refuses the message,
 * does not answer within 10 s, or has not come to an end of its answers in time; and for a malformed recipient.
 */
export function createSmtpMailer(smtpUrl: string, from: string, patienceMs = PATIENCE_MS): Mailer & { close(): void } {
  const transport = createTransport({
    url: smtpUrl,
    pool: true,
    maxConnections: 5,
    connectionTimeout: 5000,
    greetingTimeout: 5000,
    socketTimeout: 10_000,
    dnsTimeout: 5000,
    disableFileAccess: true,
    disableUrlAccess: true,
  })
  const sender = parseSender(from)
  // What is under way has a connection that nothing here can end.
  const look = shared(() =>
    transport.verify().then(
      () => true,
      () => false,
    ),
  )
  return {
    send: async ({ to, subject, text, html }, id) => {
      assertAddress(to)
      // The same for every try of a job, so that a mail which was accepted twice can be recognised.
      const messageId = `<${id}@portcullis>`
      // Else a server that goes on with the same answer, a line at a time, has the connection for ever.
      const signal = AbortSignal.timeout(patienceMs)
      await transport
        .sendMail({ from: sender, to: { name: '', address: to }, subject, text, html, messageId, signal })
        .catch((error) => {
          throw describeRefusal(error)
        })
    },
    isReachable: () => Promise.race([look(), sleep(patienceMs, false, { ref: false })]),
    close: () => transport.close(),
  }
}

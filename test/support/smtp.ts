import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { SMTPServer } from 'smtp-server'
import { afterAll, onTestFinished, TestRunner } from 'vitest'

export interface Delivery {
  to: string[]
  source: string
}

interface Behaviour {
  /** So many messages are refused for the moment, before it takes what comes. */
  refusals?: number
  /** It does not take the recipient, and says so with the address. */
  refusesRecipients?: boolean
  port?: number
  /** How slow it is: the time between a message and its answer. */
  tardinessMs?: number
}

/** An SMTP server on this machine. It ends with the test, or with the file. */
export async function startSmtp({
  refusals = 0,
  refusesRecipients = false,
  port = 0,
  tardinessMs = 0,
}: Behaviour = {}) {
  const delivered: Delivery[] = []
  let refused = 0
  let offered = 0
  const server = new SMTPServer({
    disabledCommands: ['AUTH', 'STARTTLS'],
    logger: false,
    onRcptTo({ address }, _session, done) {
      if (!refusesRecipients) return done()
      refused += 1
      done(Object.assign(new Error(`<${address}>: greylisted`), { responseCode: 450 }))
    },
    async onData(stream, { envelope }, done) {
      const source = await text(stream)
      offered += 1
      await sleep(tardinessMs)
      if (refused < refusals) {
        refused += 1
        return done(Object.assign(new Error('Try again later'), { responseCode: 451 }))
      }
      delivered.push({ to: envelope.rcptTo.map(({ address }) => address), source })
      done()
    },
  })
  server.listen(port, '127.0.0.1')
  await once(server.server, 'listening')
  const { port: actual } = server.server.address() as AddressInfo
  const stop = () => new Promise<void>((resolve) => server.close(resolve))
  if (TestRunner.getCurrentTest()) onTestFinished(() => stop())
  else afterAll(() => stop())
  const counts = { refused: () => refused, offered: () => offered }
  return { url: `smtp://127.0.0.1:${actual}`, port: actual, delivered, stop, ...counts }
}

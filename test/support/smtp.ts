import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { SMTPServer } from 'smtp-server'
import { afterAll, onTestFinished, TestRunner } from 'vitest'

export interface Delivery {
  to: string[]
  source: string
  /** How many were kept waiting then. */
  waiting: number
}

interface Behaviour {
  /** So many messages are refused for the moment, before it takes what comes. */
  refusals?: number
  /** It does not take the recipient, and says so with the address. */
  refusesRecipients?: boolean
  /** Recipients of whom it says nothing, once it has refused them. */
  keepsWaiting?: RegExp
  port?: number
  /** How slow it is: the time between a message and its answer. */
  tardinessMs?: number
}

/** An SMTP server on this machine. It ends with the test, or with the file. */
export async function startSmtp({
  refusals = 0,
  refusesRecipients = false,
  keepsWaiting = /^$/,
  port = 0,
  tardinessMs = 0,
}: Behaviour = {}) {
  const delivered: Delivery[] = []
  let refused = 0
  let offered = 0
  const known = new Set<string>()
  const waiting = new Set<string>()
  const server = new SMTPServer({
    disabledCommands: ['AUTH', 'STARTTLS'],
    logger: false,
    closeTimeout: 100,
    onRcptTo({ address }, { id }, done) {
      const isSlow = keepsWaiting.test(address)
      if (isSlow && known.has(address)) return void waiting.add(id)
      known.add(address)
      if (!refusesRecipients && !isSlow) return done()
      refused += 1
      done(Object.assign(new Error(`<${address}>: greylisted`), { responseCode: 450 }))
    },
    onClose: ({ id }) => void waiting.delete(id),
    async onData(stream, { envelope }, done) {
      const source = await text(stream)
      offered += 1
      await sleep(tardinessMs)
      if (refused < refusals) {
        refused += 1
        return done(Object.assign(new Error('Try again later'), { responseCode: 451 }))
      }
      delivered.push({ to: envelope.rcptTo.map(({ address }) => address), source, waiting: waiting.size })
      done()
    },
  })
  server.listen(port, '127.0.0.1')
  await once(server.server, 'listening')
  const { port: actual } = server.server.address() as AddressInfo
  const stop = () => new Promise<void>((resolve) => server.close(resolve))
  if (TestRunner.getCurrentTest()) onTestFinished(() => stop())
  else afterAll(() => stop())
  const counts = { refused: () => refused, offered: () => offered, waiting: () => waiting.size }
  return { url: `smtp://127.0.0.1:${actual}`, port: actual, delivered, stop, ...counts }
}

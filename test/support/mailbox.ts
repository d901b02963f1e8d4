import { expect, vi } from 'vitest'
import { noteCode } from './secrets.js'

export interface Mail {
  to: string
  subject: string
  text: string
  html: string
  sentAt: string
}

export interface Mailbox {
  /** All mails to the address, newest first, once every mail that was enqueued so far is delivered. */
  mailsTo(address: string): Promise<Mail[]>
  /** The newest mail to the address with that subject. Fails when there is none. */
  mail(address: string, subject: string): Promise<Mail>
}

/** What the mails are called: how a test says which one it means. */
export const SUBJECTS = {
  verification: 'Verify your e-mail address',
  existingAccount: 'You already have an account',
  reset: 'Reset your password',
  passwordChanged: 'Your password was changed',
  passwordReset: 'Your password was reset',
  newDevice: 'New sign-in to your account',
  locked: 'Your account is locked for a while',
  sessionEnded: 'We have ended a session of yours',
  suspiciousLogin: 'Unusual sign-in to your account',
  passwordInBreach: 'Your password is known from a data breach',
} as const

/** The link's token and the six digits of a mail. */
export function proofOf({ text }: Mail): { token: string; code: string; link: URL } {
  const link = new URL(/https?:\S+token=\S+/.exec(text)?.[0] ?? expect.fail(`No link in: ${text}`))
  const code = /^\s*(\d{6})\s*$/m.exec(text)?.[1] ?? /\b\d{6}\b/.exec(text)?.[0] ?? expect.fail(`No code in: ${text}`)
  noteCode(code)
  return { token: link.searchParams.get('token') ?? '', code, link }
}

/** Reads what the server keeps instead of sending it. `isIdle`: no mail waits to be delivered. */
export function createTestMailbox(url: string, isIdle: () => Promise<boolean>): Mailbox {
  async function mailsTo(address: string): Promise<Mail[]> {
    await vi.waitUntil(isIdle, { timeout: 90_000, interval: 10 })
    const response = await fetch(`${url}/dev/mailbox`, { headers: { accept: 'application/json' } })
    const mails = (await response.json()) as Mail[]
    return mails.filter(({ to }) => to === address)
  }
  return {
    mailsTo,
    async mail(address, subject) {
      const mails = await mailsTo(address)
      const subjects = mails.map((mail) => mail.subject)
      return mails.find((mail) => mail.subject === subject) ?? expect.fail(`No "${subject}" among ${subjects}`)
    },
  }
}

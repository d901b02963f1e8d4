import { expect } from 'vitest'
import { NEXT_PASSWORD, type TestApp } from './app.js'
import type { Browser } from './browser.js'
import type { Client } from './client.js'
import { LoginDocument } from './generated/graphql.js'
import type { User } from './user.js'

/** The cookie by which a device is known. */
export const NAME = 'portcullis_device'

export const cookieOf = (browser: Browser) => browser.cookies.get(NAME)?.value ?? expect.fail('No device cookie')

/** Devices that sign in, and some that try. */
export function createDevices(app: TestApp) {
  const stranger = app.anonymous.with({ 'x-forwarded-for': '203.0.113.9' })
  const signIn = async (caller: Client, identifier: string, password: string) =>
    (await caller.call(LoginDocument, { input: { identifier, password, tokenDelivery: 'BODY' } })).__typename

  return {
    stranger,
    signIn,

    /** What as many wrong passwords are answered. */
    async fail(caller: Client, identifier: string, times: number): Promise<string[]> {
      const answers: string[] = []
      for (let time = 1; time <= times; time += 1) answers.push(await signIn(caller, identifier, NEXT_PASSWORD))
      return answers
    },

    /** A browser on which the person has signed in. */
    async knownTo(user: User): Promise<Browser> {
      const browser = app.browser()
      expect(await signIn(browser, user.email, user.password)).toBe('LoginSuccess')
      return browser
    },

    /** Who sends that cookie and no other. */
    carrying: (cookie: string) => app.anonymous.with({ cookie: `${NAME}=${encodeURIComponent(cookie)}` }),
  }
}

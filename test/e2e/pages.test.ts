import type { Browser, Page } from 'playwright-core'
import { describe, expect, it } from 'vitest'
import { expectAccessible, findLowContrast } from './accessibility.js'
import { beforeEachScriptless } from './scriptless.js'
import { mailTo, register, type Server, signIn, startServer, takePicture, VERIFICATION_SUBJECT } from './support.js'

const LIVE = { timeout: 60_000, interval: 200 }

let server: Server
let browser: Browser
let page: Page

beforeEachScriptless((stage) => {
  ;({ server, browser, page } = stage)
})

describe('the mailbox', () => {
  it('shows the mails as text and as people see them, newest first, with links that open', async () => {
    await register(server, 'first@example.com')
    await mailTo(server, 'first@example.com', VERIFICATION_SUBJECT)
    await register(server, 'second@example.com')
    const { sentAt } = await mailTo(server, 'second@example.com', VERIFICATION_SUBJECT)
    const openMailbox = async () => {
      await page.goto(`${server.url}/dev/mailbox`)
      return page.getByRole('article').first().getByRole('paragraph').first().innerText()
    }
    await expect.poll(openMailbox, LIVE).toContain('To second@example.com')
    const mail = page.getByRole('article').first()
    expect(await mail.locator('time').getAttribute('datetime')).toBe(sentAt)
    await expectAccessible(page)

    await mail.locator('summary').focus()
    await page.keyboard.press('Enter')
    const framed = mail.frameLocator('iframe')
    await framed.getByRole('heading', { name: VERIFICATION_SUBJECT }).waitFor()
    await takePicture(page, 'mailbox-1-light')
    const opened = page.context().waitForEvent('page')
    await framed.getByRole('link', { name: 'Verify e-mail address' }).click()
    const target = await opened
    await target.getByRole('button', { name: 'Verify e-mail address' }).click()
    await target.getByRole('status').waitFor()
    expect((await signIn(server, 'second@example.com')).__typename).toBe('LoginSuccess')
  })
})

it('A name of the product that is as long as one may be fits a telephone', async () => {
  const named = await startServer({ PRODUCT_NAME: 'W'.repeat(50) })
  const narrow = await browser.newContext({ javaScriptEnabled: false, viewport: { width: 320, height: 640 } })
  const shown = await narrow.newPage()
  await shown.goto(`${named.url}/reset-password`)
  await takePicture(shown, 'phone-long-name')
  expect(await shown.evaluate(() => document.documentElement.scrollWidth)).toBe(320)
  await narrow.close()
})

describe('every page', () => {
  const PATHS = [
    '/',
    '/verify-email',
    '/verify-email?token=t',
    '/reset-password',
    '/reset-password?token=t',
    '/not-me',
    '/not-me?token=t',
    '/dev/mailbox',
  ]

  it.each(['light', 'dark'] as const)('fits a telephone, in %s', async (colorScheme) => {
    await page.setViewportSize({ width: 320, height: 640 })
    await page.emulateMedia({ colorScheme })
    for (const path of PATHS) {
      await page.goto(`${server.url}${path}`)
      await expectAccessible(page)
      await takePicture(page, `phone-${colorScheme}${path.replace(/\W/g, '-')}`)
    }
  })

  it.each(['light', 'dark'] as const)('can be read, in %s', async (colorScheme) => {
    await page.emulateMedia({ colorScheme })
    for (const path of PATHS) {
      await page.goto(`${server.url}${path}`)
      expect(await page.evaluate(findLowContrast)).toEqual([])
    }
  })
})

import type { Browser, BrowserContext, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import {
  ask,
  codeIn,
  linkIn,
  mailTo,
  OTHER_PASSWORD,
  openBrowser,
  PASSWORD,
  register,
  registerVerified,
  type Server,
  signIn,
  startServer,
  stopEverything,
  takePicture,
  VERIFICATION_SUBJECT,
  watchProblems,
  whoIs,
} from './support.js'

vi.setConfig({ testTimeout: 60_000, hookTimeout: 120_000 })

const RESET_SUBJECT = 'Reset your password'
const LIVE = { timeout: 15_000, interval: 200 }

let server: Server
let browser: Browser
let context: BrowserContext
let page: Page
let problems: string[]

beforeAll(async () => {
  ;[server, browser] = await Promise.all([
    startServer({ RATE_LIMITS: 'register=100/1h;requestPasswordReset=100/1m,100/1h;verifyEmail=100/1h' }),
    openBrowser(),
  ])
})

afterAll(stopEverything)

// None of the pages needs JavaScript.
beforeEach(async () => {
  context = await browser.newContext({ javaScriptEnabled: false, viewport: { width: 1000, height: 760 } })
  problems = watchProblems(context, server.url)
  page = await context.newPage()
})

afterEach(async ({ task }) => {
  if (task.result?.state === 'fail') await takePicture(page, 'page-failed')
  await context.close()
  expect(problems).toEqual([])
})

/** What every page owes to people who cannot see it, or who use no mouse. */
async function expectAccessible(): Promise<void> {
  expect(await page.locator('html').getAttribute('lang')).toBe('en')
  expect(await page.title()).toMatch(/.+ · Portcullis$/)
  expect(await page.locator('main').count()).toBe(1)
  expect(await page.locator('h1').count()).toBe(1)
  const found = await page.evaluate(() => {
    const shown = [
      ...document.querySelectorAll<HTMLElement>('a[href], button, summary, iframe, input:not([type=hidden])'),
    ]
    const nameOf = (element: HTMLElement) => {
      const labels = element instanceof HTMLInputElement ? [...(element.labels ?? [])] : [element]
      return labels.map((label) => label.textContent?.trim()).join('') || element.title
    }
    const ids = [...document.querySelectorAll('[id]')].map(({ id }) => id)
    const references = [...document.querySelectorAll('[aria-describedby]')].flatMap(
      (element) => element.getAttribute('aria-describedby')?.split(' ') ?? [],
    )
    return {
      nameless: shown.filter((element) => !nameOf(element)).map(({ outerHTML }) => outerHTML),
      ambiguousIds: ids.filter((id, index) => ids.indexOf(id) !== index),
      missingIds: references.filter((id) => !document.getElementById(id)),
      overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    }
  })
  expect(found).toEqual({ nameless: [], ambiguousIds: [], missingIds: [], overflow: 0 })
}

/** Everything that can be used is reached with Tab, and shows that it has the focus. Returns what it is. */
async function tabThrough(): Promise<string[]> {
  const reached: string[] = []
  await page.locator('a[href]').first().focus()
  await page.keyboard.press('Shift+Tab')
  for (;;) {
    await page.keyboard.press('Tab')
    const focused = await page.evaluate(() => {
      const element = document.activeElement as HTMLElement
      const { outlineStyle, outlineWidth } = getComputedStyle(element)
      return {
        name: element.id || element.textContent?.trim() || element.tagName,
        isOutlined: outlineStyle !== 'none' && Number.parseFloat(outlineWidth) >= 2,
        isBody: element === document.body,
      }
    })
    if (focused.isBody || reached.includes(focused.name)) return reached
    expect(focused).toMatchObject({ isOutlined: true })
    reached.push(focused.name)
  }
}

const focusedId = () => page.evaluate(() => document.activeElement?.id || document.activeElement?.tagName)
const heading = () => page.getByRole('heading', { level: 1 }).innerText()

describe('the page of the verification link', () => {
  it('verifies when its button is pressed, not before, and only once', async () => {
    const email = 'link@example.com'
    await register(server, email)
    const mail = await mailTo(server, email, VERIFICATION_SUBJECT)

    for (const _scan of [1, 2]) expect((await fetch(linkIn(mail))).status).toBe(200)
    await page.goto(linkIn(mail))
    expect(await heading()).toBe('Verify your e-mail address')
    expect((await signIn(server, email)).__typename).toBe('EmailNotVerifiedError')
    await expectAccessible()
    await takePicture(page, 'verify-1-confirm')

    expect(await focusedId()).toBe('BUTTON')
    await page.keyboard.press('Enter')
    await page.getByRole('status').waitFor()
    expect(await heading()).toBe('E-mail address verified')
    expect(await page.getByRole('status').innerText()).toContain(email)
    await expectAccessible()
    await takePicture(page, 'verify-2-done')
    expect((await signIn(server, email)).__typename).toBe('LoginSuccess')

    await page.goto(linkIn(mail))
    await page.getByRole('button').click()
    expect(await page.getByRole('alert').innerText()).toMatch(/invalid or has expired/)
    expect(await page.title()).toMatch(/^Error/)
    expect(await page.getByLabel('Six-digit code of the mail').isVisible()).toBe(true)
    await expectAccessible()
    await takePicture(page, 'verify-3-used')
  })

  it('takes the code instead, with the keyboard alone', async () => {
    const email = 'code@example.com'
    await register(server, email)
    const code = codeIn(await mailTo(server, email, VERIFICATION_SUBJECT))
    await page.goto(`${server.url}/verify-email`)
    await expectAccessible()
    expect(await tabThrough()).toEqual(['Portcullis', 'email', 'code', 'Verify e-mail address'])

    await page.goto(`${server.url}/verify-email`)
    expect(await focusedId()).toBe('email')
    await page.keyboard.type(email)
    await page.keyboard.press('Tab')
    await page.keyboard.type(code === '000000' ? '000001' : '000000')
    await page.keyboard.press('Enter')
    await page.getByRole('alert').waitFor()
    expect(await page.getByLabel('E-mail address').inputValue()).toBe(email)
    expect(await focusedId()).toBe('code')
    await page.keyboard.type(code)
    await page.keyboard.press('Tab')
    await page.keyboard.press('Space')
    await page.getByRole('status').waitFor()
    expect((await signIn(server, email)).__typename).toBe('LoginSuccess')
  })

  it('refuses a form that another site has sent', async () => {
    const email = 'forged@example.com'
    await register(server, email)
    const token = new URL(linkIn(await mailTo(server, email, VERIFICATION_SUBJECT))).searchParams.get('token') ?? ''
    const response = await fetch(`${server.url}/verify-email`, {
      method: 'POST',
      body: new URLSearchParams({ token, csrf: 'guessed' }),
    })
    expect(response.status).toBe(403)
    expect((await signIn(server, email)).__typename).toBe('EmailNotVerifiedError')
  })
})

describe('the page of the reset link', () => {
  const requestReset = async (email: string) => {
    await ask(
      server,
      'mutation ($input: RequestPasswordResetInput!) { requestPasswordReset(input: $input) { __typename } }',
      { input: { email } },
    )
    return mailTo(server, email, RESET_SUBJECT)
  }

  it('keeps the link alive over weak passwords, then ends all sessions with a good one', async () => {
    const email = 'forgetful@example.com'
    await registerVerified(server, email)
    const { authentication: old } = await signIn(server, email)
    expect(await whoIs(server, old?.accessToken ?? '')).toBe(email)
    await page.goto(linkIn(await requestReset(email)))
    expect(await focusedId()).toBe('newPassword')
    await expectAccessible()
    await takePicture(page, 'reset-1-form')

    for (const weak of ['short', 'password1234', PASSWORD]) {
      await page.getByLabel('New password').fill(weak)
      await page.keyboard.press('Enter')
      await page.getByRole('alert').waitFor()
      const listed = await page.getByRole('alert').getByRole('listitem').allInnerTexts()
      expect(listed.length).toBeGreaterThan(0)
      expect(await page.content()).not.toContain(`value="${weak}"`)
      await expectAccessible()
      await takePicture(page, `reset-2-weak-${weak}`)
    }
    expect(await whoIs(server, old?.accessToken ?? '')).toBe(email)
    expect(await tabThrough()).toEqual(['Portcullis', 'newPassword', 'Set new password'])

    await page.getByLabel('New password').fill(OTHER_PASSWORD)
    await page.keyboard.press('Enter')
    await page.getByRole('status').waitFor()
    expect(await heading()).toBe('Your password is reset')
    await expectAccessible()
    await takePicture(page, 'reset-3-done')

    expect((await signIn(server, email)).__typename).toBe('InvalidCredentialsError')
    expect((await signIn(server, email, OTHER_PASSWORD)).__typename).toBe('LoginSuccess')
    expect(await whoIs(server, old?.accessToken ?? '')).toBeNull()
    const { refresh } = await ask(
      server,
      'mutation ($input: RefreshInput) { refresh(input: $input) { __typename ... on InvalidRefreshTokenError { reason } } }',
      { input: { refreshToken: old?.refreshToken } },
    )
    expect(refresh).toEqual({ __typename: 'InvalidRefreshTokenError', reason: 'REVOKED' })
  })

  it('says so when the link was used, and takes the address and the code instead', async () => {
    const email = 'coder@example.com'
    await registerVerified(server, email)
    const mail = await requestReset(email)
    await page.goto(linkIn(mail).replace(/token=.*/, 'token=unknown'))
    await page.getByLabel('New password').fill(OTHER_PASSWORD)
    await page.keyboard.press('Enter')
    expect(await page.getByRole('alert').innerText()).toMatch(/invalid or has expired/)
    expect(await focusedId()).toBe('email')
    await expectAccessible()
    await takePicture(page, 'reset-4-used')

    await page.keyboard.type(email)
    await page.keyboard.press('Tab')
    await page.keyboard.type(codeIn(mail))
    await page.keyboard.press('Tab')
    await page.keyboard.type(OTHER_PASSWORD)
    await page.keyboard.press('Enter')
    await page.getByRole('status').waitFor()
    expect((await signIn(server, email, OTHER_PASSWORD)).__typename).toBe('LoginSuccess')
  })

  it('starts without a link from the address and the code', async () => {
    await page.goto(`${server.url}/reset-password`)
    expect(await tabThrough()).toEqual(['Portcullis', 'email', 'code', 'newPassword', 'Set new password'])
  })
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
    await expectAccessible()

    await mail.locator('summary').focus()
    await page.keyboard.press('Enter')
    const framed = mail.frameLocator('iframe')
    await framed.getByRole('heading', { name: VERIFICATION_SUBJECT }).waitFor()
    await takePicture(page, 'mailbox-1-light')
    const opened = context.waitForEvent('page')
    await framed.getByRole('link', { name: 'Verify e-mail address' }).click()
    const target = await opened
    await target.getByRole('button', { name: 'Verify e-mail address' }).click()
    await target.getByRole('status').waitFor()
    expect((await signIn(server, 'second@example.com')).__typename).toBe('LoginSuccess')
  })
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
      await expectAccessible()
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

/** Runs in the page. Texts whose contrast is below 4.5:1 (WCAG 2.2, 1.4.3). */
function findLowContrast(): string[] {
  const parse = (color: string) => (color.match(/[\d.]+/g) ?? []).map(Number)
  const channel = (value: number) => (value / 255 <= 0.04045 ? value / 3294.6 : ((value / 255 + 0.055) / 1.055) ** 2.4)
  const luminance = ([red = 0, green = 0, blue = 0]: number[]) =>
    0.2126 * channel(red) + 0.7152 * channel(green) + 0.0722 * channel(blue)
  const backgroundOf = (element: Element | null): number[] => {
    if (!element) return [255, 255, 255]
    const color = parse(getComputedStyle(element).backgroundColor)
    return color.length === 4 && color[3] === 0 ? backgroundOf(element.parentElement) : color
  }
  return [...document.querySelectorAll('body *')]
    .filter((element) => [...element.childNodes].some(({ nodeType, nodeValue }) => nodeType === 3 && nodeValue?.trim()))
    .flatMap((element) => {
      const levels = [luminance(parse(getComputedStyle(element).color)), luminance(backgroundOf(element))]
      const ratio = (Math.max(...levels) + 0.05) / (Math.min(...levels) + 0.05)
      return ratio < 4.5 ? [`${ratio.toFixed(2)}: ${element.outerHTML.slice(0, 100)}`] : []
    })
}

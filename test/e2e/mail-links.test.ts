import type { Page } from 'playwright-core'
import { describe, expect, it } from 'vitest'
import { expectAccessible, tabThrough } from './accessibility.js'
import { beforeEachScriptless } from './scriptless.js'
import {
  ask,
  codeIn,
  linkIn,
  mailTo,
  OTHER_PASSWORD,
  PASSWORD,
  register,
  registerVerified,
  type Server,
  signIn,
  takePicture,
  VERIFICATION_SUBJECT,
  whoIs,
} from './support.js'

const RESET_SUBJECT = 'Reset your password'

let server: Server
let page: Page

beforeEachScriptless((stage) => {
  ;({ server, page } = stage)
})

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
    await expectAccessible(page)
    await takePicture(page, 'verify-1-confirm')

    expect(await focusedId()).toBe('BUTTON')
    await page.keyboard.press('Enter')
    await page.getByRole('status').waitFor()
    expect(await heading()).toBe('E-mail address verified')
    expect(await page.getByRole('status').innerText()).toContain(email)
    await expectAccessible(page)
    await takePicture(page, 'verify-2-done')
    expect((await signIn(server, email)).__typename).toBe('LoginSuccess')

    await page.goto(linkIn(mail))
    await page.getByRole('button').click()
    expect(await page.getByRole('alert').innerText()).toMatch(/used before, or has expired\. You can try the six-digit/)
    expect(await page.title()).toMatch(/^Error/)
    expect(await page.getByLabel('Six-digit code of the mail').isVisible()).toBe(true)
    await expectAccessible(page)
    await takePicture(page, 'verify-3-used')
  })

  it('sends a new mail and takes its code, with the keyboard alone', async () => {
    const email = 'code@example.com'
    await register(server, email)
    const first = await mailTo(server, email, VERIFICATION_SUBJECT)
    await page.goto(`${server.url}/verify-email`)
    expect(await tabThrough(page)).toEqual(['Portcullis', 'email', 'Send me a mail', 'I have a code already'])

    await page.goto(`${server.url}/verify-email`)
    expect(await focusedId()).toBe('email')
    await page.keyboard.type(email)
    await page.keyboard.press('Enter')
    await page.getByRole('status').waitFor()
    expect(page.url()).toBe(`${server.url}/verify-email`)
    expect(await page.getByLabel('E-mail address').inputValue()).toBe(email)
    await expectAccessible(page)
    await takePicture(page, 'verify-4-sent')
    const code = codeIn(await mailTo(server, email, VERIFICATION_SUBJECT, first))

    expect(await focusedId()).toBe('code')
    await page.keyboard.type(code === '000000' ? '000001' : '000000')
    await page.keyboard.press('Enter')
    await page.getByRole('alert').waitFor()
    expect(await page.getByRole('alert').innerText()).toBe('That code is not right, or has expired.')
    expect(await page.getByLabel('E-mail address').inputValue()).toBe(email)
    await expectAccessible(page)
    await takePicture(page, 'verify-5-wrong-code')
    expect(await tabThrough(page)).toEqual(['Portcullis', 'email', 'code', 'Verify e-mail address', 'Send a new mail'])

    await page.getByLabel('Six-digit code of the mail').focus()
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
    await expectAccessible(page)
    await takePicture(page, 'reset-1-form')

    for (const weak of ['short', 'password1234', PASSWORD]) {
      await page.getByLabel('New password').fill(weak)
      await page.keyboard.press('Enter')
      await page.getByRole('alert').waitFor()
      const listed = await page.getByRole('alert').getByRole('listitem').allInnerTexts()
      expect(listed.length).toBeGreaterThan(0)
      expect(await page.content()).not.toContain(`value="${weak}"`)
      await expectAccessible(page)
      await takePicture(page, `reset-2-weak-${weak}`)
    }
    expect(await whoIs(server, old?.accessToken ?? '')).toBe(email)
    expect(await tabThrough(page)).toEqual(['Portcullis', 'newPassword', 'Set new password'])

    await page.getByLabel('New password').fill(OTHER_PASSWORD)
    await page.keyboard.press('Enter')
    await page.getByRole('status').waitFor()
    expect(await heading()).toBe('Your password is reset')
    await expectAccessible(page)
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
    expect(await page.getByRole('alert').innerText()).toMatch(/used before, or has expired\. You can try the six-digit/)
    expect(await focusedId()).toBe('email')
    await expectAccessible(page)
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

  it('starts without a link from the address, sends a mail and takes its code', async () => {
    const email = 'linkless@example.com'
    await registerVerified(server, email)
    await page.goto(`${server.url}/reset-password`)
    expect(await heading()).toBe('Reset your password')
    expect(await tabThrough(page)).toEqual(['Portcullis', 'email', 'Send me a mail', 'I have a code already'])
    await page.getByLabel('E-mail address').fill(email)
    await page.getByRole('button', { name: 'Send me a mail' }).click()
    expect(await page.getByRole('status').innerText()).toBe('If the address has an account, a mail is on its way.')
    expect(page.url()).toBe(`${server.url}/reset-password`)
    await expectAccessible(page)
    await takePicture(page, 'reset-5-sent')

    expect(await focusedId()).toBe('code')
    await page.keyboard.type(codeIn(await mailTo(server, email, RESET_SUBJECT)))
    await page.keyboard.press('Tab')
    await page.keyboard.type(OTHER_PASSWORD)
    await page.keyboard.press('Enter')
    await page.getByRole('heading', { name: 'Your password is reset' }).waitFor()
    expect((await signIn(server, email, OTHER_PASSWORD)).__typename).toBe('LoginSuccess')
  })

  it('leads whoever has a code already to its form, which leads back', async () => {
    await page.goto(`${server.url}/reset-password`)
    await page.getByLabel('E-mail address').fill('ada@example.com')
    await page.getByRole('button', { name: 'I have a code already' }).click()
    expect(await page.getByLabel('E-mail address').inputValue()).toBe('ada@example.com')
    expect(await tabThrough(page)).toEqual([
      ...['Portcullis', 'email', 'code', 'newPassword', 'Set new password', 'Send a new mail'],
    ])
    await page.getByRole('link', { name: 'Send a new mail' }).click()
    expect(await heading()).toBe('Reset your password')
  })
})

import type { Browser, BrowserContext, Locator, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { openBrowser, type Server, startServer, stopEverything, takePicture, watchProblems } from './support.js'

const TABS = [
  ...['Register', 'VerifyEmail', 'Login', 'Me', 'Sessions', 'AuditLog', 'SecurityAlerts'],
  ...['Refresh', 'TerminateSession', 'ChangePassword'],
]
const LIVE = { timeout: 60_000, interval: 200 }

let server: Server
let browser: Browser
let context: BrowserContext
let page: Page
let problems: string[]
let accessToken: string
let refreshToken: string

beforeAll(async () => {
  ;[server, browser] = await Promise.all([startServer(), openBrowser()])
  context = await browser.newContext({ viewport: { width: 1280, height: 800 } })
  await context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: server.url })
  problems = watchProblems(context, server.url)
  page = await openGraphiql()
})

afterEach(async ({ task }) => {
  if (task.result?.state === 'fail') await takePicture(page, 'graphiql-failed')
})

afterAll(stopEverything)

async function openGraphiql(): Promise<Page> {
  const opened = await context.newPage()
  await opened.goto(`${server.url}/graphql`)
  await opened.getByRole('tab', { name: 'Register' }).waitFor()
  return opened
}

const operationEditor = (on: Page) => on.getByLabel('Operation Editor').locator('.monaco-editor')
const headersEditor = (on: Page) =>
  on.locator('section[aria-label="Headers"] .graphiql-editor:not(.hidden) .monaco-editor')
const answer = (on: Page) => on.getByLabel('Result Window').locator('.monaco-editor')

/** GraphiQL reads an operation's name 100 ms after it has changed: nobody is quicker than that, but a program is. */
const READING_MS = 400

async function selectTab(on: Page, name: string): Promise<void> {
  await on.getByTitle(name, { exact: true }).click()
  await expect.poll(() => operationEditor(on).innerText(), LIVE).toContain(name)
  await on.waitForTimeout(READING_MS)
}

/** Select all, copy: an editor shows only the lines that fit. */
async function copy(editor: Locator): Promise<string> {
  const on = editor.page()
  await on.bringToFront()
  await on.evaluate(() => navigator.clipboard.writeText(''))
  await editor.click({ position: { x: 100, y: 8 } })
  await on.keyboard.press('ControlOrMeta+A')
  await on.keyboard.press('ControlOrMeta+C')
  return on.evaluate(() => navigator.clipboard.readText())
}

/** Select all, paste: as people do with a token, and without the editor completing what is typed. */
async function paste(editor: Locator, text: string): Promise<void> {
  const on = editor.page()
  await on.bringToFront()
  await on.evaluate((copied) => navigator.clipboard.writeText(copied), text)
  await editor.click({ position: { x: 100, y: 8 } })
  await on.keyboard.press('ControlOrMeta+A')
  await on.keyboard.press('ControlOrMeta+V')
  await on.waitForTimeout(READING_MS)
}

async function edit(on: Page, from: string, to: string): Promise<void> {
  const source = await copy(operationEditor(on))
  expect(source).toContain(from)
  await paste(operationEditor(on), source.replace(from, to))
}

const pasteToken = (on: Page, token = accessToken) =>
  paste(headersEditor(on), JSON.stringify({ authorization: `Bearer ${token}` }, null, 2))

const play = (on: Page) => on.getByRole('button', { name: /Execute query/ }).click()

type Answer = { data?: Record<string, Record<string, unknown>>; errors?: unknown }

/** Presses play, and reads the answer when it has come. */
async function run(on: Page): Promise<Answer> {
  const response = on.waitForResponse(
    (each) => each.url() === `${server.url}/graphql` && each.request().method() === 'POST',
  )
  await play(on)
  await (await response).finished()
  await expect.poll(() => answer(on).innerText(), LIVE).toContain('"data"')
  return JSON.parse(await copy(answer(on)))
}

describe('GraphiQL, for somebody who has just started the server', () => {
  it('has a tab for each step, and explains it where it can be read', async () => {
    expect(await page.getByRole('tab').allInnerTexts()).toEqual(TABS)
    await expect.poll(() => operationEditor(page).innerText(), LIVE).toContain('register(')
    await takePicture(page, 'graphiql-1-start')
    for (const tab of TABS) {
      await selectTab(page, tab)
      const source = await copy(operationEditor(page))
      expect(source).toMatch(/^# \d+\. /)
      // What fits beside the buttons of a window of 1280 pixels.
      for (const line of source.split('\n')) expect(line.length).toBeLessThanOrEqual(49)
    }
  })

  it('registers, shows the code in the mailbox, verifies and signs in', async () => {
    await selectTab(page, 'Register')
    expect(await run(page)).toEqual({
      data: { register: { email: 'ada@example.com', message: expect.stringMatching(/mail/) } },
    })
    await takePicture(page, 'graphiql-2-registered')

    const mailbox = await context.newPage()
    const mail = mailbox.getByRole('article').filter({ hasText: 'To ada@example.com' })
    const openMailbox = async () => {
      await mailbox.goto(`${server.url}/dev/mailbox`)
      return mail.count()
    }
    await expect.poll(openMailbox, LIVE).toBe(1)
    const [code = ''] = /^\d{6}$/m.exec(await mail.locator('pre').innerText()) ?? []
    await takePicture(mailbox, 'graphiql-3-mailbox')
    await mailbox.close()

    await selectTab(page, 'VerifyEmail')
    await edit(page, '"000000"', `"${code}"`)
    expect(await run(page)).toEqual({ data: { verifyEmail: { email: 'ada@example.com' } } })

    await selectTab(page, 'Login')
    const { data } = await run(page)
    const authentication = data?.login?.authentication as { accessToken: string; refreshToken: string; user: object }
    expect(authentication.user).toEqual({ displayName: 'Ada' })
    ;({ accessToken, refreshToken } = authentication)
    await takePicture(page, 'graphiql-4-signed-in')
  })

  it('answers for whom the token in the headers editor stands', async () => {
    await selectTab(page, 'Me')
    expect(await run(page)).toEqual({ data: { me: null } })
    await pasteToken(page)
    expect((await run(page)).data?.me).toMatchObject({ email: 'ada@example.com', emailVerified: true })
    await takePicture(page, 'graphiql-5-me')

    await selectTab(page, 'Sessions')
    await pasteToken(page)
    const sessions = (await run(page)).data?.sessions?.edges
    expect(sessions).toEqual([
      { node: expect.objectContaining({ isCurrent: true, deviceName: expect.stringMatching(/^Chrom.* on Linux$/) }) },
    ])

    await selectTab(page, 'AuditLog')
    await pasteToken(page)
    const events = (await run(page)).data?.auditLog?.edges as { node: { type: string } }[]
    expect(events.map(({ node }) => node.type)).toEqual(
      expect.arrayContaining(['REGISTERED', 'EMAIL_VERIFIED', 'LOGIN_SUCCEEDED']),
    )
    await takePicture(page, 'graphiql-6-audit-log')
  })

  it('shows alerts live while other tabs act', async () => {
    await selectTab(page, 'Login')
    const again = (await run(page)).data?.login?.authentication as { accessToken: string }
    const watcher = await openGraphiql()
    await selectTab(watcher, 'SecurityAlerts')
    await pasteToken(watcher, again.accessToken)
    const opened = watcher.waitForResponse((response) => response.headers()['content-type'] === 'text/event-stream')
    await play(watcher)
    await opened

    await page.bringToFront()
    await selectTab(page, 'Login')
    await edit(page, 'violet-harbour-41-lantern', 'not the password')
    expect((await run(page)).data?.login).toMatchObject({ code: 'INVALID_CREDENTIALS' })
    await expect.poll(() => answer(watcher).innerText(), LIVE).toContain('LOGIN_FAILED')
    await takePicture(watcher, 'graphiql-7-alert')

    await page.bringToFront()
    await selectTab(page, 'Refresh')
    await edit(page, '<paste refreshToken here>', refreshToken)
    const refreshed = (await run(page)).data?.refresh as { authentication: { accessToken: string } }
    expect(refreshed).toMatchObject({ outcome: 'ROTATED' })
    accessToken = refreshed.authentication.accessToken
    await expect.poll(() => answer(watcher).innerText(), LIVE).toContain('TOKEN_REFRESHED')

    await selectTab(page, 'Sessions')
    await pasteToken(page)
    const sessions = (await run(page)).data?.sessions?.edges as { node: { id: string; isCurrent: boolean } }[]
    const other = sessions.find(({ node }) => !node.isCurrent) ?? expect.fail()
    await selectTab(page, 'TerminateSession')
    await edit(page, '<paste id here>', other.node.id)
    await pasteToken(page)
    const ended = (await run(page)).data?.terminateSession?.session
    expect(ended).toEqual({ deviceName: expect.stringMatching(/^Chrom/), isActive: false })
    await takePicture(page, 'graphiql-8-terminated')
    // The session that the alerts belonged to.
    await expect.poll(() => watcher.getByRole('button', { name: /Execute query/ }).count(), LIVE).toBe(1)
    await watcher.close()

    await selectTab(page, 'ChangePassword')
    await pasteToken(page)
    const changed = (await run(page)).data?.changePassword as { authentication: { accessToken: string } }
    expect(changed).toEqual({
      terminatedSessions: 0,
      authentication: { accessToken: expect.any(String), refreshToken: expect.any(String) },
    })
    await takePicture(page, 'graphiql-9-password-changed')
    accessToken = changed.authentication.accessToken
    await selectTab(page, 'Me')
    await pasteToken(page)
    expect((await run(page)).data?.me).toMatchObject({ email: 'ada@example.com' })
    await selectTab(page, 'Login')
    await edit(page, 'not the password', 'copper-lagoon-58')
    expect((await run(page)).data?.login).toHaveProperty('authentication')
  })

  it('explains the schema', async () => {
    await page.getByRole('button', { name: 'Show Documentation Explorer' }).click()
    await page.getByRole('link', { name: 'Mutation', exact: true }).click()
    await page.getByText('terminateAllSessions').first().waitFor()
    await takePicture(page, 'graphiql-10-documentation')
  })

  it('writes no password and no token into the address bar or the storage that stays', async () => {
    const stored = await page.evaluate(() => JSON.stringify({ ...window.localStorage }))
    for (const text of [page.url(), stored]) {
      expect(text).not.toContain('lantern')
      expect(text).not.toContain(accessToken)
    }
    expect(new URL(page.url()).search).toBe('')
  })

  it('has kept to its policy, thrown nothing and asked nobody else', () => {
    expect(problems).toEqual([])
  })
})

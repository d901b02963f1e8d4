import type { Browser, BrowserContext, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, beforeEach, expect } from 'vitest'
import { openBrowser, type Server, startServer, stopEverything, takePicture, watchProblems } from './support.js'

interface Stage {
  server: Server
  browser: Browser
  page: Page
}

/** Gives every test of the file a page without scripts, which none of the server's own pages needs, at one server. */
export function beforeEachScriptless(use: (stage: Stage) => void): void {
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

  beforeEach(async () => {
    context = await browser.newContext({ javaScriptEnabled: false, viewport: { width: 1000, height: 760 } })
    problems = watchProblems(context, server.url)
    page = await context.newPage()
    use({ server, browser, page })
  })

  afterEach(async ({ task }) => {
    if (task.result?.state === 'fail') await takePicture(page, 'page-failed')
    await context.close()
    expect(problems).toEqual([])
  })
}

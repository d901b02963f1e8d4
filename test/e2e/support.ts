// What the end-to-end tests share: a real server process, a real browser, and what people do with both.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
/** Where Debian puts it. */
const CHROMIUM = process.env.E2E_CHROMIUM ?? '/usr/bin/chromium'
const CHROMIUM_FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]
const START_MS = 90_000
const STOP_MS = 20_000
const MAIL_MS = 20_000

export const PASSWORD = 'violet-harbour-41-lantern'
export const OTHER_PASSWORD = 'copper-meadow-87-trumpet'

export interface Server {
  /** As people reach it: http://localhost:PORT. */
  url: string
}

/** What has to end when the tests of a file are over, the latest first. */
const running: (() => Promise<void>)[] = []

/** For afterAll. Also ends what was still about to start when something else had failed. */
export async function stopEverything(): Promise<void> {
  for (const stop of running.splice(0).reverse()) await stop()
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exited = once(child, 'exit')
  child.kill('SIGTERM')
  const cutOff = setTimeout(() => child.kill('SIGKILL'), STOP_MS)
  await exited
  clearTimeout(cutOff)
}

/** `npm start` of somebody who has configured nothing, but for a data directory, a port and no calls to the outside. */
export async function startServer(settings: Record<string, string> = {}): Promise<Server> {
  const dataDir = mkdtempSync(join(tmpdir(), 'portcullis-e2e-data-'))
  const { PATH = '', HOME = '', TMPDIR } = process.env
  const child = spawn(process.execPath, ['dist/main.js'], {
    cwd: ROOT,
    env: { PATH, HOME, ...(TMPDIR && { TMPDIR }), DATA_DIR: dataDir, PORT: '0', BREACH_CHECK_URL: 'off', ...settings },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const lines: string[] = []
  const stop = async () => {
    await end(child)
    rmSync(dataDir, { recursive: true, force: true })
  }
  running.push(stop)
  try {
    const address = await new Promise<URL>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('it did not become ready in time')), START_MS)
      for (const stream of [child.stdout, child.stderr]) {
        createInterface({ input: stream }).on('line', (line) => {
          lines.push(line)
          const [, url] = /Portcullis is ready at (\S+)/.exec(line) ?? []
          if (!url) return
          clearTimeout(timer)
          resolve(new URL(url))
        })
      }
      child.once('error', reject)
      child.once('exit', (code) => reject(new Error(`it ended with code ${code}`)))
    })
    return { url: `http://localhost:${address.port}` }
  } catch (error) {
    throw new Error(`The server could not be started: ${(error as Error).message}\n${lines.join('\n')}`)
  }
}

export async function openBrowser(): Promise<Browser> {
  if (!existsSync(CHROMIUM)) {
    throw new Error(
      `These tests drive Chromium, and there is none at ${CHROMIUM}. Install it (apt-get install chromium), or say ` +
        'where it is with E2E_CHROMIUM.',
    )
  }
  const launch = chromium.launch({ executablePath: CHROMIUM, args: CHROMIUM_FLAGS })
  running.push(async () => (await launch).close())
  return launch
}

/** What a page must never do: break its policy, throw, or talk to anybody but the origins given. */
export function watchProblems(context: BrowserContext, ...origins: string[]): string[] {
  const problems: string[] = []
  context.on('weberror', (event) => problems.push(`page error: ${event.error().stack}`))
  context.on('console', (message) => {
    const text = message.text()
    // Chromium's own note about every answer of 4xx, which some tests provoke.
    if (text.startsWith('Failed to load resource: the server responded')) return
    if (message.type() === 'error' || /content security policy/i.test(text)) problems.push(`console: ${text}`)
  })
  context.on('request', (request) => {
    const { origin, protocol } = new URL(request.url())
    if (/^(https?|wss?):$/.test(protocol) && !origins.includes(origin)) problems.push(`request: ${request.url()}`)
  })
  return problems
}

let pictures: string | undefined

/** Writes a picture of the page into a directory that is printed once. */
export async function takePicture(page: Page, name: string): Promise<void> {
  if (!pictures) {
    pictures = mkdtempSync(join(tmpdir(), 'portcullis-e2e-pictures-'))
    console.info(`Pictures: ${pictures}`)
  }
  await page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true })
}

interface Mail {
  to: string
  subject: string
  text: string
  html: string
  sentAt: string
}

/** The newest mail to the address with this subject, as soon as there is one that is newer than `after`. */
export async function mailTo(server: Server, address: string, subject: string, after?: Mail): Promise<Mail> {
  const deadline = Date.now() + MAIL_MS
  for (;;) {
    const response = await fetch(`${server.url}/dev/mailbox`, { headers: { accept: 'application/json' } })
    const mails = (await response.json()) as Mail[]
    const mail = mails.find((each) => each.to === address && each.subject === subject)
    if (mail && (!after || mail.sentAt > after.sentAt)) return mail
    if (Date.now() > deadline) throw new Error(`No mail "${subject}" has come for ${address}`)
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}

const firstMatch = (pattern: RegExp, { text }: Mail): string => {
  const [match] = pattern.exec(text) ?? []
  if (!match) throw new Error(`There is no ${pattern} in the mail:\n${text}`)
  return match
}
export const codeIn = (mail: Mail): string => firstMatch(/^\d{6}$/m, mail)
export const linkIn = (mail: Mail): string => firstMatch(/^https?:\/\/\S+$/m, mail)

type Answer = Record<string, Record<string, unknown>>

/** One operation over HTTP, for what a test needs but is not about. Throws what is wrong with it. */
export async function ask(server: Server, query: string, variables: object = {}, token?: string): Promise<Answer> {
  const response = await fetch(`${server.url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }) },
    body: JSON.stringify({ query, variables }),
  })
  const { data, errors } = (await response.json()) as { data: Answer; errors?: { message: string }[] }
  if (errors) throw new Error(errors.map(({ message }) => message).join('\n'))
  return data
}

/** Registers, and leaves the address unverified. */
export async function register(server: Server, email: string): Promise<void> {
  const input = { email, password: PASSWORD, termsAccepted: true, privacyPolicyAccepted: true }
  const { register } = await ask(
    server,
    'mutation ($input: RegisterInput!) { register(input: $input) { __typename } }',
    { input },
  )
  if (register?.__typename !== 'RegisterSuccess') throw new Error(`Not registered: ${JSON.stringify(register)}`)
}

export const VERIFICATION_SUBJECT = 'Verify your e-mail address'

/** Registers and verifies with the code of the mail. */
export async function registerVerified(server: Server, email: string): Promise<void> {
  await register(server, email)
  const code = codeIn(await mailTo(server, email, VERIFICATION_SUBJECT))
  await ask(server, 'mutation ($input: VerifyEmailInput!) { verifyEmail(input: $input) { __typename } }', {
    input: { email, code },
  })
}

interface SignIn {
  __typename: string
  authentication?: { accessToken: string; refreshToken: string }
}

export async function signIn(server: Server, identifier: string, password = PASSWORD): Promise<SignIn> {
  const { login } = await ask(
    server,
    `mutation ($input: LoginInput!) {
      login(input: $input) { __typename ... on LoginSuccess { authentication { accessToken refreshToken } } }
    }`,
    { input: { identifier, password, tokenDelivery: 'BODY' } },
  )
  return login as unknown as SignIn
}

/** The e-mail address that the server takes the token for; null when it takes it for nobody's. */
export async function whoIs(server: Server, token: string): Promise<unknown> {
  const { me } = await ask(server, '{ me { email } }', {}, token)
  return me?.email ?? null
}

import { describe, expect, test } from 'vitest'
import { NEXT_PASSWORD, startApp } from '../support/app.js'
import { expectType } from '../support/client.js'
import { LoginDocument } from '../support/generated/graphql.js'
import { proofOf, SUBJECTS } from '../support/mailbox.js'
import { type OpenPage, openPage } from '../support/pages.js'

const app = await startApp()
const WRONG_CODE = 'That code is not right, or has expired.'
const TRY_THE_CODE = 'You can try the six-digit code of the latest mail.'

const logIn = (identifier: string, password: string) =>
  app.anonymous.call(LoginDocument, { input: { identifier, password, tokenDelivery: 'BODY' } })
const otherThan = (code: string) => String((Number(code) + 1) % 1_000_000).padStart(6, '0')
const alertOf = ({ html }: OpenPage) => /role="alert"[^>]*>\s*<p>([^<]*)/.exec(html)?.[1]
/** The fields that screen readers call wrong. */
const wrongOf = ({ html }: OpenPage) =>
  [...html.matchAll(/<input [^>]*name="(\w+)"[^>]* aria-describedby="[^"]*\berror"[^>]*>/g)].flatMap(([input, name]) =>
    input.includes(' aria-invalid="true"') ? [name] : [],
  )
const noticeOf = ({ html }: OpenPage) => /role="status"><p>([^<]*)/.exec(html)?.[1]
const subjectsTo = async (email: string) => (await app.mailsTo(email)).map(({ subject }) => subject)

async function askFor(url: string, email: string): Promise<OpenPage> {
  return (await openPage(url)).send({ email, step: 'send' })
}

/** `next`: what it asks for once it has the address; `mail`: what it sends. */
const PAGES = [
  { path: '/reset-password', next: ['csrf', 'email', 'code', 'newPassword'], mail: SUBJECTS.reset },
  { path: '/verify-email', next: ['csrf', 'email', 'code'], mail: SUBJECTS.verification },
]

describe.each(PAGES)('$path without a token', ({ path, next, mail }) => {
  const url = app.url + path

  test('asks for the address, sends a mail, and takes the code of it with the address filled in', async () => {
    const { email } = await app.register()
    const before = (await subjectsTo(email)).filter((subject) => subject === mail).length
    const opened = await openPage(url)
    expect(Object.keys(opened.fields)).toEqual(['csrf', 'email'])
    const asked = await opened.send({ email, step: 'send' })
    expect(asked.status).toBe(200)
    expect(asked.headers.get('content-security-policy')).toMatch(/^default-src 'none'/)
    expect(noticeOf(asked)).toMatch(/^If the address .*, a mail is on its way\.$/)
    expect(Object.keys(asked.fields)).toEqual(next)
    expect(asked.fields).toMatchObject({ email, code: '' })
    expect((await subjectsTo(email)).filter((subject) => subject === mail)).toHaveLength(before + 1)

    const { code } = proofOf(await app.mail(email, mail))
    const done = await asked.send({ code, newPassword: NEXT_PASSWORD })
    expect(done.status).toBe(200)
    expect(done.html).toMatch(/<h1>(Your password is reset|E-mail address verified)<\/h1>/)
  })

  test('answers the same, whoever has the address', async () => {
    const known = await app.newUser()
    const gone = await app.newUser()
    await app.operator.deactivate(gone.email)
    const waiting = await app.register()
    const seen = async (email: string) => {
      const { status, headers, html } = await askFor(url, email)
      const named = [...headers].filter(([name]) => !/^(date|x-request-id|content-length|ratelimit-.*)$/.test(name))
      return { status, named, html: html.replaceAll(email, 'the address') }
    }
    const expected = await seen('nobody.at.all@example.com')
    for (const email of [known.email, gone.email, waiting.email]) expect(await seen(email)).toEqual(expected)
  })

  test('leads whoever has a code to its form, and sends nothing', async () => {
    const { email } = await app.register()
    const before = await subjectsTo(email)
    const { status, fields } = await (await openPage(url)).send({ email, step: 'code' })
    expect(status).toBe(200)
    expect(Object.keys(fields)).toEqual(next)
    expect(fields.email).toBe(email)
    expect(await subjectsTo(email)).toEqual(before)
  })

  test('sends nothing by being opened, nor for a form that is not its own', async () => {
    const { email } = await app.register()
    const before = await subjectsTo(email)
    const opened = await openPage(`${url}?step=send&email=${encodeURIComponent(email)}`)
    expect(opened.fields.email).toBe('')
    const forged = await opened.send({ email, step: 'send', csrf: 'guessed' })
    expect(forged.status).toBe(403)
    expect(await subjectsTo(email)).toEqual(before)
  })

  test.each(['', 'ada', `"><script>alert('1')</script>`])('asks again for what is no address: %j', async (email) => {
    const asked = await askFor(url, email)
    expect(asked.status).toBe(400)
    expect(alertOf(asked)).toBe('Must be an e-mail address.')
    expect(wrongOf(asked)).toEqual(['email'])
    expect(asked.html).toContain('<title>Error: ')
    expect(asked.html).not.toContain('<script')
    expect(asked.fields.email).toBe(email)
    expect(Object.keys(asked.fields)).toEqual(['csrf', 'email'])
  })

  test('sends no more mails than the API does', async () => {
    const limits = 'requestPasswordReset=100/1m,2/1h;resendVerificationEmail=2/1h'
    const strict = await startApp({ env: { RATE_LIMITS: limits } })
    const attempts = [1, 2, 3].map((person) => askFor(strict.url + path, `person${person}@example.com`))
    const answers = (await Promise.all(attempts)).sort((a, b) => a.status - b.status)
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 429])
    const [refused] = answers.slice(-1) as [OpenPage]
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(3000)
    expect(alertOf(refused)).toMatch(/^Too many requests/)
    expect(wrongOf(refused)).toEqual([])
    expect(refused.fields.email).toMatch(/^person\d@example\.com$/)
  })

  test('is where a link that does not work leads, and a code that is not right', async () => {
    const { email } = await app.register()
    const { code } = proofOf(await app.mail(email, SUBJECTS.verification))
    const form = await (await openPage(url)).send({ email, step: 'code' })
    const wrong = await form.send({ code: otherThan(code), newPassword: NEXT_PASSWORD })
    expect(wrong.status).toBe(400)
    expect(alertOf(wrong)).toBe(WRONG_CODE)
    expect(wrong.html).not.toContain(TRY_THE_CODE)
    expect(wrong.fields).toMatchObject({ email, code: '' })
    expect(wrongOf(wrong)).toEqual(['email', 'code'])
    const short = await form.send({ code: '12345', newPassword: NEXT_PASSWORD })
    expect(alertOf(short)).toBe('Must be six digits.')
    expect(wrongOf(short)).toEqual(['code'])

    const dead = await (await openPage(`${url}?token=unknown`)).send({ newPassword: NEXT_PASSWORD })
    expect(dead.status).toBe(400)
    expect(alertOf(dead)).toBe(`The link was used before, or has expired. ${TRY_THE_CODE}`)
    expect(Object.keys(dead.fields)).toEqual(next)
    expect(wrongOf(dead)).toEqual([])
    for (const { html } of [wrong, dead]) expect(html).toContain(`<a href="${path}">Send a new mail</a>`)
  })
})

test('A link that still works is kept when its form is refused for another reason', async () => {
  const { email } = await app.register()
  const { token } = proofOf(await app.mail(email, SUBJECTS.verification))
  const env = { RATE_LIMITS: 'verifyEmail=1/1h' }
  const strict = await startApp({ env, beside: app })
  await (await openPage(`${strict.url}/verify-email?token=unknown`)).send({})
  const refused = await (await openPage(`${strict.url}/verify-email?token=${token}`)).send({})
  expect(refused.status).toBe(429)
  expect(alertOf(refused)).toMatch(/^Too many requests/)
  expect(refused.fields.token).toBe(token)
})

test('A form has 16 KB at most: with a byte more it does nothing', async () => {
  const { email } = await app.register()
  const { token } = proofOf(await app.mail(email, SUBJECTS.verification))
  const page = await openPage(`${app.url}/verify-email?token=${token}`)
  const { length } = new URLSearchParams({ ...page.fields, filler: '' }).toString()
  const sendOf = (bytes: number) => page.send({ filler: 'x'.repeat(bytes - length) })
  const refused = await sendOf(16 * 1024 + 1)
  expect(refused.status).toBe(413)
  expect(refused.headers.get('connection')).toBe('close')
  // The link has not been used.
  expect((await sendOf(16 * 1024)).html).toContain('<h1>E-mail address verified</h1>')
})

test('The mails whose link has no token lead to a page that ends with a new password', async () => {
  const ada = await app.newUser()
  await app.register({ email: ada.email })
  const { text } = await app.mail(ada.email, SUBJECTS.existingAccount)
  const [link = ''] = /https?:\S+\/reset-password$/m.exec(text) ?? []
  expect(text.match(/https?:\S+/g), 'nowhere to sign in without FRONTEND_URL').toEqual([link])
  const asked = await askFor(app.url + new URL(link).pathname, ada.email)
  const { code } = proofOf(await app.mail(ada.email, SUBJECTS.reset))
  const weak = await asked.send({ code, newPassword: 'password' })
  expect(alertOf(weak)).toBe('Choose a stronger password.')
  expect(wrongOf(weak)).toEqual(['newPassword'])
  expect(weak.fields).toMatchObject({ email: ada.email, code, newPassword: '' })
  expect((await weak.send({ newPassword: NEXT_PASSWORD })).status).toBe(200)
  expectType(await logIn(ada.email, NEXT_PASSWORD), 'LoginSuccess')
})

test('The page of a link that says "this was not me" leads on, used or not', async () => {
  const ada = await app.newUser()
  await ada.logIn({}, { 'user-agent': 'one/1.0 (x)' })
  const { text } = await app.mail(ada.email, SUBJECTS.newDevice)
  const link = new URL(/https?:\S+\/not-me\?token=\S+/.exec(text)?.[0] ?? expect.fail(text))
  const page = await openPage(app.url + link.pathname + link.search)
  const done = await page.send({})
  expect(done.status).toBe(200)
  expect(done.html).toContain('<a href="/reset-password">')
  const dead = await page.send({})
  expect(dead.status).toBe(400)
  expect(dead.html).toContain('<a class="button" href="/reset-password">')
})

describe('PRODUCT_NAME', () => {
  const NAME = `Käse & "Söhne" <b>`
  const ESCAPED = 'Käse &amp; &quot;Söhne&quot; &lt;b&gt;'
  const page = async (url: string) => (await fetch(url, { headers: { accept: 'text/html' } })).text()

  test('is what mails and pages call the product, escaped', async () => {
    const named = await startApp({ env: { PRODUCT_NAME: NAME } })
    const { email } = await named.register()
    const mail = await named.mail(email, SUBJECTS.verification)
    expect(mail.text).toContain(`-- \n${NAME} sent this mail`)
    expect(mail.html).toContain(`${ESCAPED} sent this mail`)
    expect(mail.text + mail.html).not.toContain('Portcullis')
    for (const path of ['/verify-email', '/reset-password?token=t', '/not-me', '/nowhere']) {
      const html = await page(named.url + path)
      expect(html).toMatch(`· ${ESCAPED}</title>`)
      expect(html).toMatch(`</svg>${ESCAPED}</a></header>`)
      expect(html).not.toContain('Portcullis')
    }
  })

  test('is not what the pages for developers call it', async () => {
    const named = await startApp({ env: { PRODUCT_NAME: NAME } })
    for (const path of ['/', '/graphql', '/dev/mailbox']) {
      const html = await page(named.url + path)
      expect(html).toMatch(/<title>[^<]*Portcullis<\/title>/)
      expect(html).not.toContain('Käse')
    }
  })
})

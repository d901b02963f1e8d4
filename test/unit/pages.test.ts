import { createHash } from 'node:crypto'
import { Kind, parse } from 'graphql'
import { describe, expect, it } from 'vitest'
import { EXAMPLE_TABS } from '../../src/http/example-operations.js'
import { graphiqlPage } from '../../src/http/graphiql.js'
import { type NotMeState, notMePage } from '../../src/http/not-me-page.js'
import { MAILBOX_CSP, PAGE_CSP } from '../../src/http/page-layout.js'
import { errorPage, homePage, mailboxPage } from '../../src/http/pages.js'
import { type ResetPasswordState, resetPasswordPage } from '../../src/http/reset-password-page.js'
import { type VerifyEmailState, verifyEmailPage } from '../../src/http/verify-email-page.js'

const hostile = `"><script>alert('1')</script>`
const escaped = '&quot;&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;'
const csrf = 'csrf-value'
const requirements = ['At least 12 characters.']
const sha256 = (text: string) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`

/** Name and attributes of each field, in order. */
const fields = (html: string) =>
  Object.fromEntries(
    [...html.matchAll(/<input ([^>]*)>/g)].map(([, rest = '']) => [/name="(\w+)"/.exec(rest)?.[1], rest]),
  )

const verify = (state: VerifyEmailState) => verifyEmailPage(state)('Portcullis')
const reset = (state: ResetPasswordState) => resetPasswordPage(state)('Portcullis')
const notMe = (state: NotMeState) => notMePage(state)('Portcullis')
const error = (status: number, title: string, message: string) => errorPage(status, title, message)('Portcullis')

const pages = {
  confirm: verify({ step: 'confirm', token: 'tok', csrf }),
  'ask for a verification': verify({ step: 'ask', csrf }),
  'asked for a verification': verify({ step: 'code', notice: 'On its way.', email: 'ada@example.com', csrf }),
  'verification failed': verify({ step: 'code', error: 'No.', email: 'ada@example.com', csrf }),
  verified: verify({ step: 'done', email: 'ada@example.com', continueUrl: 'https://app.example.com/?a=1&b=2' }),
  'ask for a reset': reset({ step: 'ask', csrf }),
  'asking for a reset failed': reset({ step: 'ask', error: 'No.', email: 'ada', csrf }),
  'reset form': reset({ step: 'form', token: 'tok', requirements, csrf }),
  'reset by code': reset({ step: 'form', email: 'ada@example.com', notice: 'On its way.', requirements, csrf }),
  'reset failed': reset({
    step: 'form',
    token: 'tok',
    error: 'Too weak.',
    violations: [{ message: 'Too short.' }, { message: 'Too common.' }],
    requirements,
    csrf,
  }),
  'reset done': reset({ step: 'done', message: 'Sign in.' }),
  'not me': notMe({ step: 'confirm', token: 'tok', csrf }),
  'not me, failed': notMe({ step: 'failed' }),
  'not me, done': notMe({ step: 'done', continueUrl: 'https://app.example.com/' }),
  error: error(404, 'Not found', 'There is no such page.'),
  home: homePage({ graphiql: true, mailbox: true, schema: true }),
  mailbox: mailboxPage([]),
}

describe('every page', () => {
  it.each(Object.entries(pages))('%s is accessible, and allowed by the policy', (_name, html) => {
    expect(html).toMatch(/^<!doctype html>\n<html lang="en">/)
    expect(html.match(/<main>/g)).toHaveLength(1)
    expect(html.match(/<h1>/g)).toHaveLength(1)
    expect(html).toMatch(/<title>[^<]+ · Portcullis<\/title>/)
    expect(html).not.toMatch(/<script|\son\w+=|\sstyle=|undefined|\[object/)
    const ids = [...html.matchAll(/<input id="(\w+)"/g)].map(([, id]) => id)
    for (const id of ids) expect(html).toContain(`<label for="${id}">`)
    const style = /<style>([\s\S]*?)<\/style>/.exec(html)?.[1] as string
    expect(PAGE_CSP).toContain(sha256(style))
  })

  it('is served with a policy that allows nothing but its own style and form', () => {
    expect(PAGE_CSP).toMatch(
      /^default-src 'none'; style-src 'sha256-[\w+/=]{44}'; form-action 'self'; img-src data:; base-uri 'none'; frame-ancestors 'none'$/,
    )
  })
})

describe('the page of the verification link', () => {
  it('only offers to post the token', () => {
    expect(pages.confirm).toContain('<form method="post" action="/verify-email">')
    expect(fields(pages.confirm)).toEqual({
      csrf: 'type="hidden" name="csrf" value="csrf-value"',
      token: 'type="hidden" name="token" value="tok"',
    })
  })

  it('asks for the address, and then for the code, when there is no token', () => {
    expect(Object.keys(fields(pages['ask for a verification']))).toEqual(['csrf', 'email'])
    const { csrf, email, code, ...others } = fields(pages['asked for a verification'])
    expect(others).toEqual({})
    expect(csrf).toContain('value="csrf-value"')
    expect(email).toContain('value="ada@example.com" autocomplete="username"')
    expect(code).toContain('autocomplete="one-time-code"')
  })

  it('announces a failure and keeps the address', () => {
    expect(pages['verification failed']).toMatch(/role="alert" id="error">\s*<p>No\.</)
    expect(fields(pages['verification failed']).email).toContain('value="ada@example.com"')
  })

  it('escapes what it is given', () => {
    const all = [
      verify({ step: 'confirm', token: hostile, csrf: hostile }),
      verify({ step: 'ask', email: hostile, csrf }),
      verify({ step: 'code', email: hostile, csrf }),
      verify({ step: 'code', error: hostile, csrf }),
      verify({ step: 'done', email: hostile, continueUrl: hostile }),
      reset({ step: 'ask', email: hostile, csrf }),
      reset({ step: 'form', email: hostile, code: hostile, requirements, csrf }),
      error(400, hostile, hostile),
      errorPage(400, 'Not readable', 'No.')(hostile),
    ]
    for (const html of all) {
      expect(html).not.toContain('<script')
      expect(html).toContain(escaped)
    }
  })

  it('leads on when there is somewhere to go', () => {
    expect(pages.verified).toContain('href="https://app.example.com/?a=1&amp;b=2"')
  })
})

describe('the page of the link that says "this was not me"', () => {
  it('only offers to post the token, and says before what that does', () => {
    expect(pages['not me']).toContain('<form method="post" action="/not-me">')
    expect(Object.keys(fields(pages['not me']))).toEqual(['csrf', 'token'])
    expect(pages['not me']).toContain('All your sessions end')
    expect(notMe({ step: 'confirm', token: hostile, csrf: hostile })).not.toContain('<script')
  })
})

describe('the page of the reset link', () => {
  it('takes the new password with the token', () => {
    const { csrf, token, newPassword, ...others } = fields(pages['reset form'])
    expect(others).toEqual({})
    expect(pages['reset form']).toContain('<form method="post" action="/reset-password">')
    expect([csrf, token]).toEqual([
      'type="hidden" name="csrf" value="csrf-value"',
      'type="hidden" name="token" value="tok"',
    ])
    expect(newPassword).toContain('autocomplete="new-password"')
    expect(newPassword).not.toContain('value=')
  })

  it('takes the new password with the address and the code', () => {
    expect(Object.keys(fields(pages['reset by code']))).toEqual(['csrf', 'email', 'code', 'newPassword'])
  })

  it('names every broken rule and keeps the token', () => {
    expect(pages['reset failed']).toMatch(
      /role="alert"[\s\S]*Too weak\.[\s\S]*<li>Too short\.<\/li><li>Too common\.<\/li>/,
    )
    expect(fields(pages['reset failed']).token).toContain('value="tok"')
    expect(fields(pages['reset failed']).newPassword).not.toContain('value=')
  })
})

describe('the mailbox', () => {
  const mail = (subject: string, second: number, text = '', html = '') => ({
    to: 'ada@example.com',
    subject,
    text,
    html,
    sentAt: new Date(Date.UTC(2026, 0, 1, 0, 0, second)),
  })

  it('lists the mails as they come, newest first', () => {
    const html = mailboxPage([mail('Third', 3), mail('Second', 2), mail('First', 2)])
    expect([...html.matchAll(/<h2>(\w+)/g)].map(([, subject]) => subject)).toEqual(['Third', 'Second', 'First'])
  })

  it('makes links of the text clickable, and nothing else of it', () => {
    const html = mailboxPage([
      mail(hostile, 1, `Go:\nhttp://localhost:4000/verify-email?a=1&b=2\n${hostile} javascript:x`),
    ])
    expect(html).toContain(
      '<a href="http://localhost:4000/verify-email?a=1&amp;b=2">http://localhost:4000/verify-email?a=1&amp;b=2</a>\n',
    )
    expect(html).toContain(`<h2>${escaped}</h2>`)
    expect(html).not.toMatch(/<script|href="javascript/)
  })

  it('shows the HTML part in a frame without rights', () => {
    const html = mailboxPage([mail('One', 1, '', `<p style="color:red">"x" & y</p>`)])
    expect(html).toContain(
      'srcdoc="&lt;base target=&quot;_blank&quot;&gt;&lt;p style=&quot;color:red&quot;&gt;&quot;x&quot; &amp; y&lt;/p&gt;"',
    )
    expect(html).toMatch(/<iframe [^>]*sandbox="allow-popups allow-popups-to-escape-sandbox"/)
    expect(MAILBOX_CSP).toContain(`default-src 'none'; style-src 'unsafe-inline'; `)
  })
})

describe('the home page', () => {
  it('links only to what is on', () => {
    expect(pages.home).toContain('href="/graphql"')
    expect(pages.home).toContain('href="/dev/mailbox"')
    const html = homePage({ graphiql: false, mailbox: false, schema: false })
    expect(html).not.toMatch(/href="\/(graphql|dev\/mailbox|schema\.graphql)"/)
    expect(html).toContain('href="/health"')
  })
})

describe('GraphiQL', () => {
  it('has the ready operations in the order in which one needs them', () => {
    const names = EXAMPLE_TABS.map(({ query }) => {
      expect(query).toMatch(/^# \d+\. /)
      const [operation] = parse(query).definitions
      return operation?.kind === Kind.OPERATION_DEFINITION ? operation.name?.value : undefined
    })
    expect(names).toEqual([
      ...['Register', 'VerifyEmail', 'Login', 'Me', 'Sessions', 'AuditLog', 'SecurityAlerts'],
      ...['Refresh', 'TerminateSession', 'ChangePassword'],
    ])
  })

  it('runs its one script by hash, and loads nothing from elsewhere', async () => {
    const { html, contentSecurityPolicy } = await graphiqlPage()
    const script = html.slice(html.indexOf('<script>') + '<script>'.length, html.lastIndexOf('</script>'))
    expect(contentSecurityPolicy).toContain(`script-src ${sha256(script)};`)
    expect(contentSecurityPolicy).not.toContain('unsafe-eval')
    expect(html.slice(0, html.indexOf('<style>'))).not.toMatch(/(src|href)="(?!data:)/)
    expect(script).not.toContain('</script')
  })

  it('is rendered once', async () => {
    expect(await graphiqlPage()).toBe(await graphiqlPage())
  })
})

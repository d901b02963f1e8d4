import { describe, expect, it, test } from 'vitest'
import { type EmailData, type EmailKind, hasNotMe } from '../../src/emails/kinds.js'
import { type Recipient, renderEmail } from '../../src/emails/render.js'

const ada = { displayName: 'Ada', locale: 'en', timezone: 'UTC' }
const resetLink = 'https://id.example.com/reset-password'
const from = {
  at: new Date('2026-03-01T12:00:00.000Z'),
  deviceName: 'Firefox on Linux',
  ipAddress: '203.0.113.7',
  city: 'Vienna',
  country: 'Austria',
}
const origin = {
  ...from,
  notMeLink: 'https://id.example.com/not-me?token=Zm9v_-YmFy',
  notMeSeconds: 604_800,
}
const linkAndCode = {
  link: 'https://id.example.com/verify-email?token=Zm9v_-123456-YmFy',
  code: '048213',
  lifetimeSeconds: 86_400,
}
const data: EmailData = {
  'email-verification': { ...linkAndCode, ...from },
  'existing-account': { ...from, loginLink: 'https://id.example.com/login', resetLink },
  'password-reset': { ...linkAndCode, lifetimeSeconds: 600 },
  'password-changed': origin,
  'password-reset-completed': origin,
  'new-device': origin,
  'account-locked': { ...origin, lockedUntil: origin.at, resetLink },
  'sessions-ended': origin,
  'password-in-breach': { chosenAt: from.at, resetLink },
  'suspicious-login': { ...origin, reasons: ['NEW_COUNTRY', 'IMPOSSIBLE_TRAVEL', 'SUCCESS_AFTER_FAILURES'] },
}
const kinds = Object.keys(data) as EmailKind[]
const render = <K extends EmailKind>(kind: K, data: EmailData[K], recipient: Recipient) =>
  renderEmail(kind, data, recipient, 'Portcullis')

test('a mail to the owner of an account has no link to sign in where there is no such page', () => {
  const { text, html } = render('existing-account', { ...from, resetLink }, ada)
  for (const part of [text, html]) {
    expect(part).toContain(resetLink)
    expect(part).not.toContain('Sign in')
  }
})

describe('every mail', () => {
  it.each(kinds)('%s has a subject, a text and a document without anything from elsewhere', (kind) => {
    const mail = render(kind, data[kind], ada)
    expect(mail.subject).toMatch(/^[\x20-\x7e]{5,70}$/)
    expect(mail.text).toMatch(/^Hello/)
    expect(mail.text).not.toMatch(/undefined|null|\[object|<\w/)
    expect(mail.html).toMatch(/^<!doctype html>\n<html lang="en">/)
    expect(mail.html).not.toMatch(/<(img|script|link|iframe)|undefined|\[object|url\(/)
  })

  it.each(kinds)('%s has each of its links alone on a line of the text, and as a link in the HTML', (kind) => {
    const mail = render(kind, data[kind], ada)
    const links = Object.entries(data[kind]).flatMap(([name, value]) => (/link$/i.test(name) ? [value as string] : []))
    expect(links.length).toBeGreaterThan(0)
    for (const link of links) {
      expect(mail.text.split('\n')).toContain(link)
      expect(mail.html).toContain(`href="${link}"`)
    }
  })
})

describe('mails about what somebody else may have done', () => {
  it.each(kinds.filter(hasNotMe))(
    '%s say when, on what, where and from which address, and what to do about it',
    (kind) => {
      const mail = render(kind, data[kind], ada)
      for (const part of [mail.text, mail.html]) {
        expect(part).toContain('Sunday, March 1, 2026')
        for (const fact of ['Firefox on Linux', 'Vienna, Austria', '203.0.113.7']) expect(part).toContain(fact)
        expect(part.replaceAll('&quot;', '"')).toContain('The link below, "This was not me", ends all sessions')
        expect(part).toContain('It works once, for 7 days.')
      }
      expect(mail.text).toContain(`7 days.\n\nThis was not me:\n${origin.notMeLink}\n`)
      expect(mail.html).toMatch(/7 days\.<\/p>\s*<p [^>]*><a href="[^"]*\/not-me[^"]*"[^>]*>This was not me</)
    },
  )
})

test.each(kinds)('%s ends with what the product is called', (kind) => {
  const mail = renderEmail(kind, data[kind], ada, 'Käse & <b>Söhne</b>')
  expect(mail.text).toContain('\n-- \nKäse & <b>Söhne</b> sent this mail because')
  expect(mail.html).toContain('>Käse &amp; &lt;b&gt;Söhne&lt;/b&gt; sent this mail because')
  expect(mail.text + mail.html).not.toContain('Portcullis')
})

describe('mails with a code', () => {
  it.each(['email-verification', 'password-reset'] as const)(
    '%s has the code alone on the first line with digits',
    (kind) => {
      const { text, html, subject } = render(kind, data[kind], { ...ada, displayName: '654321' })
      expect(text.match(/\b\d{6}\b/)?.[0]).toBe('048213')
      expect(text.split('\n')).toContain('048213')
      expect(html).toContain('>048213<')
      expect(subject).not.toMatch(/\d/)
    },
  )

  it('has no other run of six digits when its link has none', () => {
    const mail = render('password-reset', { ...linkAndCode, link: 'http://127.0.0.1:45123/reset-password' }, ada)
    expect(mail.text.match(/\b\d{6}\b/g)).toEqual(['048213'])
  })

  it.each([
    [86_400, '24 hours'],
    [600, '10 minutes'],
    [60, '60 seconds'],
    [172_800, '2 days'],
    // A job may have waited since.
    [86_385, '24 hours'],
    [86_384, '23 hours'],
  ])('says that %d seconds are %s', (lifetimeSeconds, words) => {
    expect(render('password-reset', { ...linkAndCode, lifetimeSeconds }, ada).text).toContain(`for ${words}.`)
  })
})

describe('what users have chosen', () => {
  const hostile = `<script>alert("1")</script>'&\r\nBcc: eve@example.com`

  it('is escaped in the HTML and stays on one line of the text', () => {
    const mail = render('new-device', { ...origin, deviceName: hostile, city: '<b>"' }, ada)
    expect(mail.html).not.toMatch(/<script|<b>/)
    expect(mail.html).toContain('&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&#39;&amp; Bcc')
    expect(mail.text).toContain(`Device: <script>alert("1")</script>'& Bcc: eve@example.com\n`)
    expect(mail.subject).not.toMatch(/[\r\n]/)
  })

  it('cannot reorder or hide text', () => {
    const mail = render('new-device', { ...origin, deviceName: 'a\u202eb\u200bc\u0000d\u2028e' }, ada)
    expect(mail.text).toContain('Device: abc d e\n')
    expect(mail.html).toContain('>abc d e<')
    // A joiner joins two letters, or it hides something.
    const joined = render('new-device', { ...origin, deviceName: '1\u200da\u200c2', city: 'b\u200d.c' }, ada)
    expect(joined.text).toContain('Device: 1a2\nPlace: b.c')
  })

  it.each(['ශ්\u200dරීමා', 'نیم\u200cفاصله', '\u{1f469}\u200d\u{1f4bb}', '\u{1f469}\u{1f3fd}\u200d\u{1f4bb}'])(
    'keeps what joins letters, and the signs of an emoji: %s',
    (name) => {
      const mail = render('new-device', { ...origin, deviceName: name }, ada)
      expect(mail.text).toContain(`Device: ${name}\n`)
      expect(render('password-reset', linkAndCode, { ...ada, displayName: name }).text).toContain(`Hello ${name},\n`)
    },
  )

  it.each([
    'evil.e\u200dxample',
    'evil.\u200cexample',
    '1\u200d23456',
    '123\u3164456',
    'evil.\ufe0fexample',
    'evil.e\u034fxample',
    'evil.example',
    'http://evil',
    'Call 123456',
    'Call ١٢٣٤٥٦',
    'see evil.io',
    '\\\\evil',
    'Win at evil。example',
    'evil．example',
    'code 123 456',
    '１２３４５６',
    'x'.repeat(61),
    '',
    '\r\n',
  ])('is no name to greet by when it is %j', (displayName) => {
    expect(render('password-reset', linkAndCode, { ...ada, displayName }).text).toMatch(/^Hello,\n/)
  })

  it('greets by an ordinary name, escaped', () => {
    const mail = render('password-reset', linkAndCode, { ...ada, displayName: `Ada O'Brien <3` })
    expect(mail.text).toMatch(/^Hello Ada O'Brien <3,\n/)
    expect(mail.html).toContain('Hello Ada O&#39;Brien &lt;3,')
  })

  it.each(['email-verification', 'existing-account'] as const)('is not in %s, which anybody can send', (kind) => {
    expect(render(kind, data[kind], { ...ada, displayName: 'Buy now' }).text).toMatch(/^Hello,\n/)
  })
})

describe('times', () => {
  const time = (locale: string, timezone: string) =>
    /Time: (.*)/.exec(render('new-device', origin, { ...ada, locale, timezone }).text)?.[1]

  it.each([
    ['UTC', /^Sunday, March 1, 2026 at 12:00:00\sPM UTC$/],
    ['Asia/Tokyo', /^Sunday, March 1, 2026 at 9:00:00\sPM GMT\+9$/],
    ['Not/AZone', /^Sunday, March 1, 2026 at 12:00:00\sPM UTC$/],
    ['', /^Sunday, March 1, 2026 at 12:00:00\sPM UTC$/],
  ])('are shown in the timezone %j', (timezone, expected) => {
    expect(time('en', timezone)).toMatch(expected)
  })

  it('follow the region of the locale, as long as the language is that of the mail', () => {
    expect(time('en-GB', 'UTC')).toMatch(/^Sunday,? 1 March 2026 at 12:00:00 UTC$/)
    expect(time('en_GB', 'UTC')).toBe(time('en-GB', 'UTC'))
    expect(time('de-AT', 'UTC')).toBe(time('en', 'UTC'))
    expect(time('"><script>', 'UTC')).toBe(time('en', 'UTC'))
  })

  it('follow no calendar and no digits of the locale: who registers an address chooses what its owner reads', () => {
    expect(time('en-GB-u-ca-buddhist-nu-thai', 'UTC')).toBe(time('en-GB', 'UTC'))
  })

  it('may come as text, as they do in the data of a job', () => {
    const job = JSON.parse(JSON.stringify(origin)) as typeof origin
    expect(render('new-device', job, ada)).toEqual(render('new-device', origin, ada))
  })
})

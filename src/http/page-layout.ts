import { createHash } from 'node:crypto'
import { type Html, html, raw } from '../emails/html.js'

/** The only style of the pages, embedded in each; its hash is in their Content-Security-Policy. */
const PAGE_STYLE = `
:root { color-scheme: light dark; --page: #f4f5f8; --card: #fff; --line: #d9dde6; --text: #1f2430; --quiet: #5b6270;
  --accent: #4338ca; --on-accent: #fff; --bad: #b42318; --bad-page: #fef3f2; --good: #067647; --good-page: #ecfdf3 }
@media (prefers-color-scheme: dark) {
  :root { --page: #111318; --card: #1b1e25; --line: #343a46; --text: #e7e9ee; --quiet: #a3a9b6; --accent: #a5b4fc;
    --on-accent: #14123a; --bad: #fda29b; --bad-page: #2a1615; --good: #75e0a7; --good-page: #0d2118 }
}
* { box-sizing: border-box }
body { margin: 0; min-height: 100vh; padding: 48px 16px; background: var(--page); color: var(--text);
  font: 16px/1.55 system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif }
header, main { max-width: 440px; margin: 0 auto }
.wide header, .wide main { max-width: 860px }
header { display: flex; align-items: center; gap: 10px; margin-bottom: 20px; font-weight: 600 }
header a { display: inline-flex; align-items: center; gap: 10px; color: inherit; text-decoration: none;
  overflow-wrap: anywhere }
header svg { flex: none; width: 26px; height: 26px; color: var(--accent) }
main, article { padding: 28px; border: 1px solid var(--line); border-radius: 14px; background: var(--card) }
.list main { padding: 0; border: 0; background: none }
article { margin-bottom: 20px }
h1 { margin: 0 0 12px; font-size: 24px; line-height: 1.25 }
h2 { margin: 0 0 8px; font-size: 18px; line-height: 1.3 }
p { margin: 0 0 16px }
a { color: var(--accent) }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px }
label { display: block; margin: 0 0 6px; font-weight: 600 }
input { display: block; width: 100%; margin: 0 0 18px; padding: 11px 12px; border: 1px solid #868d9c; border-radius: 8px;
  background: transparent; color: inherit; font: inherit }
input.code { font: 600 22px/1.3 ui-monospace, Menlo, Consolas, monospace; letter-spacing: 6px }
.hint { margin: -10px 0 18px; padding: 0 0 0 18px; color: var(--quiet); font-size: 14px }
button, a.button { display: block; width: 100%; padding: 12px 20px; border: 0; border-radius: 8px;
  background: var(--accent); color: var(--on-accent); font: inherit; font-weight: 600; text-align: center;
  text-decoration: none; cursor: pointer }
button:hover, a.button:hover { filter: brightness(1.1) }
button.second { margin-top: 12px; background: none; color: var(--accent); box-shadow: inset 0 0 0 1px }
.more { margin: 20px 0 0 }
.note { margin: 0 0 20px; padding: 12px 14px; border-left: 4px solid; border-radius: 8px }
.note:last-child, .note p:last-child, .note ul { margin-bottom: 0 }
.note ul { margin-top: 8px; padding-left: 20px }
.bad { border-color: var(--bad); background: var(--bad-page); color: var(--bad) }
.good { border-color: var(--good); background: var(--good-page); color: var(--good) }
.quiet { color: var(--quiet); font-size: 14px }
.links { margin: 0; padding: 0; list-style: none }
.links li { padding: 12px 0; border-top: 1px solid var(--line) }
.links a { font-weight: 600 }
.links span { display: block; color: var(--quiet); font-size: 14px }
pre { margin: 0 0 16px; padding: 14px; border-radius: 8px; background: var(--page); white-space: pre-wrap;
  overflow-wrap: anywhere; font: 14px/1.5 ui-monospace, Menlo, Consolas, monospace }
summary { cursor: pointer; font-weight: 600 }
iframe { display: block; width: 100%; height: 560px; margin-top: 12px; border: 1px solid var(--line); border-radius: 8px;
  background: #fff; color-scheme: light }
@media (max-width: 480px) { body { padding: 20px 12px } main, article { padding: 20px } }
`

const styleHash = createHash('sha256').update(PAGE_STYLE).digest('base64')

const policy = (styleSource: string) =>
  [
    `default-src 'none'`,
    `style-src ${styleSource}`,
    `form-action 'self'`,
    'img-src data:',
    `base-uri 'none'`,
    `frame-ancestors 'none'`,
  ].join('; ')

/** The Content-Security-Policy of every page here but the mailbox. */
export const PAGE_CSP = policy(`'sha256-${styleHash}'`)

/** Frames written with srcdoc inherit the policy of their page, and mails have inline styles. Development only. */
export const MAILBOX_CSP = policy(`'unsafe-inline'`)

const MARK = `<path d="M5 28V14a11 11 0 0 1 22 0v14M11 5v23M16 4v24M21 5v23M5 14h22M5 21h22"/>`
/** The logo; `more`: attributes. */
export const logo = (stroke: string, more = '') =>
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32" fill="none" stroke="${stroke}" stroke-width="2.5" stroke-linecap="round"${more}>${MARK}</svg>`
const LOGO = raw(logo('currentColor', ' aria-hidden="true"'))
const ICON = `data:image/svg+xml,${encodeURIComponent(logo('#6366f1'))}`

/** A whole document, once it is known what the product is called (PRODUCT_NAME). */
export type Page = (productName: string) => string

/** `layout` is the class of the body: one narrow card, one wide card, or a list of cards. */
export function page(title: string, body: Html, layout: '' | 'wide' | 'wide list' = ''): Page {
  return (productName) =>
    html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<meta name="referrer" content="no-referrer">
<title>${title} · ${productName}</title>
<link rel="icon" href="${ICON}">
<style>${raw(PAGE_STYLE)}</style>
</head>
<body${layout && html` class="${layout}"`}>
<header><a href="/">${LOGO}${productName}</a></header>
<main>
${body}
</main>
</body>
</html>
`.markup
}

import { type Html, html, raw } from './html.js'
import type { Content } from './kinds.js'

/** One mail that can be laid out: every string in it is free of control characters. */
export interface Letter extends Content {
  language: string
  greeting: string
  footer: string
}

const FONT = `font-family:system-ui,-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif`

/** Clients that know no style sheets keep the inline light colours. */
const DARK = raw(`<style>
@media (prefers-color-scheme: dark) {
  .page { background: #111318 !important }
  .card { background: #1b1e25 !important; border-color: #2d323c !important }
  .text, .value { color: #e7e9ee !important }
  .quiet, .quiet a { color: #a3a9b6 !important }
  .code { background: #262a33 !important; color: #ffffff !important }
}
</style>`)

const paragraph = (text: string) => html`<p class="text" style="margin:0 0 16px;color:#1f2430">${text}</p>`

const button = ({ label, url }: { label: string; url: string }) => html`
<p style="margin:24px 0 8px"><a href="${url}" style="display:inline-block;padding:12px 20px;border-radius:8px;background:#4338ca;color:#ffffff;font-weight:600;text-decoration:none">${label}</a></p>
<p class="quiet" style="margin:0 0 24px;font-size:13px;line-height:1.5;color:#5b6270;word-break:break-all">${url}</p>`

const codeBox = ({ label, value }: { label: string; value: string }) => html`
<p class="quiet" style="margin:0 0 4px;font-size:13px;color:#5b6270">${label}</p>
<p class="code" style="margin:0 0 16px;padding:14px 20px;border-radius:8px;background:#eef0f6;color:#111318;font:600 28px/1.2 ui-monospace,Menlo,Consolas,monospace;letter-spacing:6px;text-align:center">${value}</p>`

const factsTable = (facts: NonNullable<Content['facts']>) => html`
<table style="margin:0 0 16px;border-collapse:collapse">${facts.map(
  ([label, value]) => html`
<tr><th scope="row" class="quiet" style="padding:4px 16px 4px 0;text-align:left;vertical-align:top;font-weight:400;white-space:nowrap;color:#5b6270">${label}</th><td class="value" style="padding:4px 0;color:#1f2430;word-break:break-word">${value}</td></tr>`,
)}
</table>`

/** Inline styles, no external resources, readable without any style at all. */
export function layOutHtml(letter: Letter): string {
  const body: Html = html`${paragraph(letter.greeting)}
${letter.opening.map(paragraph)}
${letter.code && codeBox(letter.code)}
${letter.facts && factsTable(letter.facts)}
${letter.link && button(letter.link)}
${letter.closing.map(paragraph)}
${letter.closingLink && button(letter.closingLink)}`
  return html`<!doctype html>
<html lang="${letter.language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="supported-color-schemes" content="light dark">
<title>${letter.subject}</title>
${DARK}
</head>
<body class="page" style="margin:0;padding:24px 12px;background:#f4f5f8">
<div class="card" role="article" aria-label="${letter.subject}" style="box-sizing:border-box;max-width:560px;margin:0 auto;padding:32px 28px;border:1px solid #e1e4eb;border-radius:12px;background:#ffffff;${raw(FONT)};font-size:16px;line-height:1.55">
<h1 class="text" style="margin:0 0 20px;font-size:22px;line-height:1.3;color:#111318">${letter.subject}</h1>
${body}
</div>
<p class="quiet" style="max-width:560px;margin:16px auto 0;padding:0 12px;box-sizing:border-box;${raw(FONT)};font-size:12px;line-height:1.5;text-align:center;color:#5b6270">${letter.footer}</p>
</body>
</html>
`.markup
}

/** Paragraphs with blank lines between them; the code and each link stand alone on a line, the code first. */
export function layOutText(letter: Letter): string {
  const link = (value: Content['link']) => (value ? [`${value.label}:`, value.url].join('\n') : '')
  return [
    letter.greeting,
    ...letter.opening,
    letter.code ? `${letter.code.label}:\n${letter.code.value}` : '',
    (letter.facts ?? []).map(([label, value]) => `${label}: ${value}`).join('\n'),
    link(letter.link),
    ...letter.closing,
    link(letter.closingLink),
    `-- \n${letter.footer}`,
  ]
    .filter(Boolean)
    .join('\n\n')
    .concat('\n')
}

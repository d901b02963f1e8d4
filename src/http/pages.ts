// The pages that no mail leads to: pure functions from a state to a document. None of them needs JavaScript.

import { escapeHtml, type Html, html, raw } from '../emails/html.js'
import type { SentMail } from '../ports.js'
import { type Page, page } from './page-layout.js'

/** What the pages for developers call the server, whatever the product is called. */
const OWN_NAME = 'Portcullis'

const withLinks = (text: string): Html[] =>
  text
    .split(/(https?:\/\/[^\s<>"']+)/)
    .map((part, index) => (index % 2 === 1 ? html`<a href="${part}">${part}</a>` : html`${part}`))

/** Links in the frame open in a new tab; scripts, forms and the page around it are out of its reach. */
const frame = (mail: SentMail) =>
  raw(
    `<iframe title="HTML part" sandbox="allow-popups allow-popups-to-escape-sandbox" loading="lazy" srcdoc="${escapeHtml(
      `<base target="_blank">${mail.html}`,
    )}"></iframe>`,
  )

/** GET /dev/mailbox, in development only; serve with MAILBOX_CSP. The mails come newest first. */
export function mailboxPage(mails: readonly SentMail[]): string {
  const list = mails.map(
    (mail) => html`<article>
<h2>${mail.subject}</h2>
<p class="quiet">To ${mail.to} · <time datetime="${mail.sentAt.toISOString()}">${mail.sentAt.toISOString().replace('T', ' ').slice(0, 19)} UTC</time></p>
<pre>${withLinks(mail.text)}</pre>
<details><summary>HTML part</summary>
${frame(mail)}
</details>
</article>
`,
  )
  return page(
    'Mailbox',
    html`<h1>Mailbox</h1>
<p class="quiet">Mails of this development server, newest first. None of them was really sent. Reload to see new ones.</p>
${list.length > 0 ? list : html`<article><p>No mails yet.</p></article>`}`,
    'wide list',
  )(OWN_NAME)
}

/** For failures outside GraphQL that a person may see. */
export function errorPage(status: number, title: string, message: string): Page {
  return page(
    title,
    html`<p class="quiet">Error ${status}</p>
<h1>${title}</h1>
<p role="alert">${message}</p>
<p><a href="/">Back to the start</a></p>`,
  )
}

/** GET /. */
export function homePage({ graphiql, mailbox, schema }: Record<'graphiql' | 'mailbox' | 'schema', boolean>): string {
  const links: readonly (readonly [href: string, label: string, text: string] | false)[] = [
    graphiql && ['/graphql', 'GraphiQL', 'Try the API, with ready example operations.'],
    mailbox && ['/dev/mailbox', 'Mailbox', 'The mails that this development server has sent.'],
    schema && ['/schema.graphql', 'Schema', 'Every operation and type of the API.'],
    ['/health', 'Health', 'The state of the server and of what it depends on.'],
  ]
  return page(
    'Home',
    html`<h1>${OWN_NAME}</h1>
<p>This server signs people in and looks after their sessions. Its API is GraphQL, at <code>/graphql</code>.</p>
<ul class="links">${links.map(
      (link) => link && html`<li><a href="${link[0]}">${link[1]}</a><span>${link[2]}</span></li>`,
    )}</ul>`,
    'wide',
  )(OWN_NAME)
}

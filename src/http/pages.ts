// The pages that the server renders itself: pure functions from a state to a document. None of them needs JavaScript.

import { escapeHtml, type Html, html, raw } from '../emails/html.js'
import type { MailMessage } from '../ports.js'
import { page } from './page-layout.js'

interface Form {
  /** Goes into the hidden field `csrf`. */
  csrf: string
}

export type VerifyEmailState =
  /** The link of the mail was opened: nothing has happened yet. */
  | (Form & { step: 'confirm'; token: string })
  | (Form & { step: 'enter-code'; email?: string })
  | (Form & { step: 'failed'; message: string; email?: string })
  | { step: 'done'; email: string; continueUrl?: string }

interface ResetForm extends Form {
  /** From the link. Without it the form asks for the address and the code. */
  token?: string
  email?: string
  code?: string
  /** The password policy, one sentence each. */
  requirements: readonly string[]
}

export type ResetPasswordState =
  | (ResetForm & { step: 'form' })
  | (ResetForm & { step: 'failed'; message: string; violations: readonly { message: string }[] })
  | { step: 'done'; message: string; continueUrl?: string }

export const hidden = (name: string, value: string) => html`<input type="hidden" name="${name}" value="${value}">`

export const alert = (message: string, details: readonly string[] = []) => html`
<div class="note bad" role="alert" id="error">
<p>${message}</p>
${details.length > 0 && html`<ul>${details.map((detail) => html`<li>${detail}</li>`)}</ul>`}
</div>`

export const success = (message: string) => html`<div class="note good" role="status"><p>${message}</p></div>`

/** After a failure without a link that still works. */
const TRY_THE_CODE = 'You can try the six-digit code of the latest mail.'

const continueLink = (url: string | undefined) => url && html`<a class="button" href="${url}">Continue</a>`

interface Prefill {
  email?: string | undefined
  code?: string | undefined
  hasFailed: boolean
}

const describedByError = (hasFailed: boolean) => hasFailed && raw(' aria-invalid="true" aria-describedby="error"')

/** The focus starts in the first field that is still empty. */
const addressAndCode = ({ email = '', code = '', hasFailed }: Prefill) => html`
<label for="email">E-mail address</label>
<input id="email" name="email" type="email" value="${email}" autocomplete="username" required maxlength="254"${!email && raw(' autofocus')}${describedByError(hasFailed)}>
<label for="code">Six-digit code of the mail</label>
<input class="code" id="code" name="code" type="text" value="${code}" inputmode="numeric" pattern="[0-9]{6}" maxlength="6" title="Six digits" autocomplete="one-time-code" required${email && !code && raw(' autofocus')}${describedByError(hasFailed)}>`

function verifyByCode(state: Form & { email?: string }, hasFailed: boolean): Html {
  return html`<form method="post" action="/verify-email">
${hidden('csrf', state.csrf)}
${addressAndCode({ email: state.email, hasFailed })}
<button type="submit">Verify e-mail address</button>
</form>`
}

/** GET and POST /verify-email. Opening the link of a mail shows `confirm`; only its button verifies. */
export function verifyEmailPage(state: VerifyEmailState): string {
  switch (state.step) {
    case 'confirm':
      return page(
        'Verify e-mail address',
        html`<h1>Verify your e-mail address</h1>
<p>One more step: confirm that this address is yours.</p>
<form method="post" action="/verify-email">
${hidden('csrf', state.csrf)}
${hidden('token', state.token)}
<button type="submit" autofocus>Verify e-mail address</button>
</form>`,
      )
    case 'enter-code':
      return page(
        'Verify e-mail address',
        html`<h1>Verify your e-mail address</h1>
<p>Enter the code of the mail that we have sent you.</p>
${verifyByCode(state, false)}`,
      )
    case 'failed':
      return page(
        'Error: verify e-mail address',
        html`<h1>Verify your e-mail address</h1>
${alert(state.message)}
<p>${TRY_THE_CODE}</p>
${verifyByCode(state, true)}`,
      )
    case 'done':
      return page(
        'E-mail address verified',
        html`<h1>E-mail address verified</h1>
${success(`${state.email} is verified. You can sign in now.`)}
${continueLink(state.continueUrl)}`,
      )
  }
}

function resetForm(state: ResetForm, hasFailed: boolean): Html {
  const identity = state.token
    ? html`${hidden('token', state.token)}`
    : addressAndCode({ email: state.email, code: state.code, hasFailed })
  const isPasswordNext = Boolean(state.token || (state.email && state.code))
  return html`<form method="post" action="/reset-password">
${hidden('csrf', state.csrf)}
${identity}
<label for="newPassword">New password</label>
<input id="newPassword" name="newPassword" type="password" autocomplete="new-password" required aria-describedby="requirements${hasFailed && ' error'}"${hasFailed && raw(' aria-invalid="true"')}${isPasswordNext && raw(' autofocus')}>
<ul class="hint" id="requirements">${state.requirements.map((requirement) => html`<li>${requirement}</li>`)}</ul>
<button type="submit">Set new password</button>
</form>`
}

/** GET and POST /reset-password. A password that was entered is never shown again. */
export function resetPasswordPage(state: ResetPasswordState): string {
  switch (state.step) {
    case 'form':
      return page(
        'Reset password',
        html`<h1>Choose a new password</h1>
<p>All your sessions end when the password changes.</p>
${resetForm(state, false)}`,
      )
    case 'failed':
      return page(
        'Error: reset password',
        html`<h1>Choose a new password</h1>
${alert(
  state.message,
  state.violations.map((violation) => violation.message),
)}
${!state.token && html`<p>${TRY_THE_CODE}</p>`}
${resetForm(state, true)}`,
      )
    case 'done':
      return page(
        'Password reset',
        html`<h1>Your password is reset</h1>
${success(state.message)}
${continueLink(state.continueUrl)}`,
      )
  }
}

export interface SentMail extends MailMessage {
  sentAt: Date
}

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

/** GET /dev/mailbox, in development only; serve with MAILBOX_CSP. Newest first, in whatever order they are given. */
export function mailboxPage(mails: readonly SentMail[]): string {
  const newestFirst = mails.toReversed().sort((a, b) => b.sentAt.getTime() - a.sentAt.getTime())
  const list = newestFirst.map(
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
  )
}

/** For failures outside GraphQL that a person may see. */
export function errorPage(status: number, title: string, message: string): string {
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
    html`<h1>Portcullis</h1>
<p>This server signs people in and looks after their sessions. Its API is GraphQL, at <code>/graphql</code>.</p>
<ul class="links">${links.map(
      (link) => link && html`<li><a href="${link[0]}">${link[1]}</a><span>${link[2]}</span></li>`,
    )}</ul>`,
    'wide',
  )
}

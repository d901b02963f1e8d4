// What the pages that mails lead to have in common.

import { html, raw } from '../emails/html.js'

export interface Form {
  /** Goes into the hidden field `csrf`. */
  csrf: string
  email?: string | undefined
  /** Why it is shown again. */
  error?: string | undefined
  /** The names of the fields that the error is about. */
  wrong?: readonly string[]
}

export const hidden = (name: string, value: string) => html`<input type="hidden" name="${name}" value="${value}">`

export const alert = (message: string, details: readonly string[] = []) => html`
<div class="note bad" role="alert" id="error">
<p>${message}</p>
${details.length > 0 && html`<ul>${details.map((detail) => html`<li>${detail}</li>`)}</ul>`}
</div>`

export const success = (message: string) => html`<div class="note good" role="status"><p>${message}</p></div>`

export const continueLink = (url: string | undefined) => url && html`<a class="button" href="${url}">Continue</a>`

/** What screen readers hear first of a page. */
export const titleOf = (title: string, { error }: Form) => (error ? `Error: ${title}` : title)

export const isWrong = ({ error, wrong }: Form, field: string) => Boolean(error && wrong?.includes(field))
const describedByError = (form: Form, field: string) =>
  isWrong(form, field) && raw(' aria-invalid="true" aria-describedby="error"')

const address = (form: Form, hasFocus: boolean) => html`
<label for="email">E-mail address</label>
<input id="email" name="email" type="email" value="${form.email}" autocomplete="username" required maxlength="254"${hasFocus && raw(' autofocus')}${describedByError(form, 'email')}>`

/** The focus starts in the first field that is still empty. */
export const addressAndCode = (form: Form & { code?: string | undefined }) => html`${address(form, !form.email)}
<label for="code">Six-digit code of the mail</label>
<input class="code" id="code" name="code" type="text" value="${form.code}" inputmode="numeric" pattern="[0-9]{6}" maxlength="6" title="Six digits" autocomplete="one-time-code" required${form.email && !form.code && raw(' autofocus')}${describedByError(form, 'code')}>`

/** Asks where a mail goes, for those who have no link that works. */
export const askForm = (path: string, form: Form) => html`<form method="post" action="${path}">
${hidden('csrf', form.csrf)}
${address(form, true)}
<button type="submit" name="step" value="send">Send me a mail</button>
<button class="second" type="submit" name="step" value="code">I have a code already</button>
</form>`

/** From where a code is asked for, back to that. */
export const askAgain = (path: string) => html`<p class="more"><a href="${path}">Send a new mail</a></p>`

import { html } from '../emails/html.js'
import { type Page, page } from './page-layout.js'
import { alert, continueLink, hidden, success } from './page-parts.js'

export type NotMeState =
  /** The link of the mail was opened: nothing has happened yet. */
  { step: 'confirm'; token: string; csrf: string } | { step: 'failed' } | { step: 'done'; continueUrl?: string }

/** GET and POST /not-me. Only the button does something; what it does is the same for every mail. */
export function notMePage(state: NotMeState): Page {
  switch (state.step) {
    case 'confirm':
      return page(
        'This was not me',
        html`<h1>This was not you?</h1>
<p>If you do not recognise what the mail tells of, we protect your account:</p>
<ul>
<li>All your sessions end, on every device.</li>
<li>Your password stops working.</li>
<li>We send you a mail with which you choose a new one.</li>
</ul>
<form method="post" action="/not-me">
${hidden('csrf', state.csrf)}
${hidden('token', state.token)}
<button type="submit">It was not me: protect my account</button>
</form>`,
      )
    case 'failed':
      return page(
        'Error: this was not me',
        html`<h1>This link does not work</h1>
${alert('The link was used before, or is more than a week old. Nothing was changed now.')}
<p>If somebody else may know your password, reset it: that ends every session.</p>
<a class="button" href="/reset-password">Reset your password</a>`,
      )
    case 'done':
      return page(
        'Your account is protected',
        html`<h1>Your account is protected</h1>
${success('All sessions have ended, and the password that your account had no longer works.')}
<p>We have sent you a mail. Choose a new password with its link or its code; until then nobody can sign in.</p>
<p><a href="/reset-password">Enter the code, or send a new mail</a></p>
${continueLink(state.continueUrl)}`,
      )
  }
}

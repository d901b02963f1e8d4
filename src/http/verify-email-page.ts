import { type Html, html } from '../emails/html.js'
import { type Page, page } from './page-layout.js'
import {
  addressAndCode,
  alert,
  askAgain,
  askForm,
  continueLink,
  type Form,
  hidden,
  success,
  titleOf,
} from './page-parts.js'

type Unverified =
  /** The link of the mail was opened: nothing has happened yet. */
  | (Form & { step: 'confirm'; token: string })
  /** There is no link: where does a mail go? */
  | (Form & { step: 'ask' })
  /** `notice`: a mail has just been asked for. */
  | (Form & { step: 'code'; notice?: string | undefined })

export type VerifyEmailState = Unverified | { step: 'done'; email: string; continueUrl?: string }

function form(state: Unverified): Html {
  switch (state.step) {
    case 'confirm':
      return html`<p>One more step: confirm that this address is yours.</p>
<form method="post" action="/verify-email">
${hidden('csrf', state.csrf)}
${hidden('token', state.token)}
<button type="submit" autofocus>Verify e-mail address</button>
</form>`
    case 'ask':
      return html`<p>Enter the address that you have registered with. We send you a mail with a link and a code.</p>
${askForm('/verify-email', state)}`
    case 'code':
      return html`${state.notice && success(state.notice)}
${!state.error && html`<p>Open the link of the latest mail, or enter its code here.</p>`}
<form method="post" action="/verify-email">
${hidden('csrf', state.csrf)}
${addressAndCode(state)}
<button type="submit">Verify e-mail address</button>
</form>
${askAgain('/verify-email')}`
  }
}

/** GET and POST /verify-email. Opening the link of a mail shows `confirm`; only its button verifies. */
export function verifyEmailPage(state: VerifyEmailState): Page {
  if (state.step === 'done') {
    return page(
      'E-mail address verified',
      html`<h1>E-mail address verified</h1>
${success(`${state.email} is verified. You can sign in now.`)}
${continueLink(state.continueUrl)}`,
    )
  }
  return page(
    titleOf('Verify e-mail address', state),
    html`<h1>Verify your e-mail address</h1>
${state.error && alert(state.error)}
${form(state)}`,
  )
}

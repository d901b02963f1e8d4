import { type Html, html, raw } from '../emails/html.js'
import { type Page, page } from './page-layout.js'
import {
  addressAndCode,
  alert,
  askAgain,
  askForm,
  continueLink,
  type Form,
  hidden,
  isWrong,
  success,
  titleOf,
} from './page-parts.js'

interface ResetForm extends Form {
  /** From the link. Without it the form asks for the address and the code. */
  token?: string | undefined
  code?: string | undefined
  /** A mail has just been asked for. */
  notice?: string | undefined
  /** The password policy, one sentence each. */
  requirements: readonly string[]
  violations?: readonly { message: string }[]
}

export type ResetPasswordState =
  /** There is no link: where does a mail go? */
  (Form & { step: 'ask' }) | (ResetForm & { step: 'form' }) | { step: 'done'; message: string; continueUrl?: string }

function resetForm(state: ResetForm): Html {
  const { token, email, code } = state
  const isPasswordNext = Boolean(token || (email && code))
  const isWeak = isWrong(state, 'newPassword')
  return html`<form method="post" action="/reset-password">
${hidden('csrf', state.csrf)}
${token ? hidden('token', token) : addressAndCode(state)}
<label for="newPassword">New password</label>
<input id="newPassword" name="newPassword" type="password" autocomplete="new-password" required aria-describedby="requirements${isWeak && ' error'}"${isWeak && raw(' aria-invalid="true"')}${isPasswordNext && raw(' autofocus')}>
<ul class="hint" id="requirements">${state.requirements.map((requirement) => html`<li>${requirement}</li>`)}</ul>
<button type="submit">Set new password</button>
</form>
${!token && askAgain('/reset-password')}`
}

/** GET and POST /reset-password. A password that was entered is never shown again. */
export function resetPasswordPage(state: ResetPasswordState): Page {
  switch (state.step) {
    case 'ask':
      return page(
        titleOf('Reset password', state),
        html`<h1>Reset your password</h1>
${state.error && alert(state.error)}
<p>Enter the address of your account. We send you a mail with which you choose a new password.</p>
${askForm('/reset-password', state)}`,
      )
    case 'form':
      return page(
        titleOf('Reset password', state),
        html`<h1>Choose a new password</h1>
${
  state.error &&
  alert(
    state.error,
    state.violations?.map((violation) => violation.message),
  )
}
${state.notice && html`${success(state.notice)}<p>Open its link, or enter its code here.</p>`}
<p>All your sessions end when the password changes.</p>
${resetForm(state)}`,
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

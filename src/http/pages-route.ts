import { type GraphQLError, parse } from 'graphql'
import { DomainError } from '../errors.js'
import type { Log } from '../ports.js'
import type { NotMe } from '../services/not-me.js'
import type { Admission } from './admission.js'
import type { Exchange } from './exchange.js'
import { formOf, urlOf } from './fields.js'
import type { Graphql } from './graphql.js'
import { retryAfterOf, stampErrors, statusOf } from './graphql-errors.js'
import { notMePage } from './not-me-page.js'
import { PAGE_CSP, type Page } from './page-layout.js'
import type { Form } from './page-parts.js'
import { errorPage } from './pages.js'
import { resetPasswordPage } from './reset-password-page.js'
import { readBody, send } from './responses.js'
import { verifyEmailPage } from './verify-email-page.js'

/** What stands for bytes that are no UTF-8: passwords that differ in those would be the same one. */
const BROKEN = '\uFFFD'
const MAX_FORM_BYTES = 16 * 1024

const VERIFY = parse(`mutation VerifyEmail($input: VerifyEmailInput!) {
  result: verifyEmail(input: $input) { __typename ... on VerifyEmailSuccess { email } ... on UserError { message } }
}`)
const RESET = parse(`mutation ResetPassword($input: ResetPasswordInput!) {
  result: resetPassword(input: $input) {
    __typename
    ... on ResetPasswordSuccess { message }
    ... on UserError { message }
    ... on WeakPasswordError { violations { message } }
  }
}`)

const RESEND = parse(`mutation ResendVerificationEmail($input: ResendVerificationEmailInput!) {
  result: resendVerificationEmail(input: $input) { __typename ... on ResendVerificationEmailSuccess { message } }
}`)
const REQUEST_RESET = parse(`mutation RequestPasswordReset($input: RequestPasswordResetInput!) {
  result: requestPasswordReset(input: $input) { __typename ... on RequestPasswordResetSuccess { message } }
}`)

/** What a mutation has answered; `wrong`: the fields that an error is about. */
interface Outcome {
  __typename: string
  email?: string
  message?: string
  violations?: { message: string }[]
  wrong?: string[]
}

interface Deps {
  graphql: Graphql
  log: Log
  admission: Admission
  /** The password policy, one sentence each. */
  requirements: readonly string[]
  continueUrl: () => string | undefined
  /** What the button of /not-me does; a verdict, where a limit refused. Throws a DomainError for a dead link. */
  reportNotMe: NotMe['report']
}

type PagePath = '/verify-email' | '/reset-password' | '/not-me'

const LINK_IS_DEAD = 'The link was used before, or has expired. You can try the six-digit code of the latest mail.'
const CODE_IS_WRONG = 'That code is not right, or has expired.'

interface Issue {
  path: string[]
  message: string
}

/** What to tell a person about an error that is not an outcome. */
function explain(error: GraphQLError): Outcome {
  const issues = (error.extensions.issues as Issue[] | undefined) ?? []
  return {
    __typename: 'Error',
    message: issues.map((issue) => issue.message).join(' ') || error.message,
    wrong: issues.flatMap(({ path }) => path.slice(-1)),
  }
}

/** The link or code is not good, and a link will never be. */
const isRefused = ({ __typename }: Outcome) => __typename === 'InvalidTokenError'

function errorOf(outcome: Outcome, token: string | undefined): string {
  if (!isRefused(outcome)) return outcome.message ?? ''
  return token ? LINK_IS_DEAD : CODE_IS_WRONG
}

function wrongOf(outcome: Outcome, token: string | undefined): string[] {
  if (outcome.violations) return ['newPassword']
  // Of a code that does not fit, nobody says whether it is the code or the address.
  return isRefused(outcome) && !token ? ['email', 'code'] : (outcome.wrong ?? [])
}

/** The pages that the links of mails open. A GET changes nothing; their forms run the same mutations as any client. */
export function createPagesRoute({ graphql, log, admission, requirements, continueUrl, reportNotMe }: Deps) {
  async function run(
    exchange: Exchange,
    document: typeof VERIFY,
    input: object,
  ): Promise<{ status: number } & Outcome> {
    const result = await graphql.run(exchange, document, { variables: { input } })
    stampErrors(result, exchange.client, log)
    const retryAfter = retryAfterOf(result)
    if (retryAfter !== null) exchange.head.set('retry-after', retryAfter)
    const [error] = result.errors ?? []
    if (error) return { status: Math.max(400, statusOf(result)), ...explain(error) }
    return { status: 200, ...(result.data?.result as Outcome) }
  }

  const optional = (form: URLSearchParams, name: string) => form.get(name)?.trim() || undefined
  const show = ({ head, productName }: Exchange, status: number, page: Page) =>
    send(head, status, 'text/html; charset=utf-8', page(productName))
  const next = () => {
    const url = continueUrl()
    return url ? { continueUrl: url } : {}
  }

  /** What those without a link that works ask for, and where its code is entered. */
  const mails = {
    '/verify-email': {
      document: RESEND,
      ask: (form: Form) => verifyEmailPage({ step: 'ask', ...form }),
      enter: (form: Form & { notice?: string }) => verifyEmailPage({ step: 'code', ...form }),
    },
    '/reset-password': {
      document: REQUEST_RESET,
      ask: (form: Form) => resetPasswordPage({ step: 'ask', ...form }),
      enter: (form: Form & { notice?: string }) => resetPasswordPage({ step: 'form', requirements, ...form }),
    },
  }

  async function askForMail(exchange: Exchange, form: URLSearchParams, path: keyof typeof mails): Promise<void> {
    const { document, ask, enter } = mails[path]
    const again = { csrf: exchange.transport.csrfToken(), email: optional(form, 'email') ?? '' }
    if (form.get('step') === 'code') return show(exchange, 200, enter(again))
    const { status, message = '', wrong = [] } = await run(exchange, document, { email: again.email })
    const page = status === 200 ? enter({ ...again, notice: message }) : ask({ ...again, error: message, wrong })
    show(exchange, status, page)
  }

  async function verify(exchange: Exchange, form: URLSearchParams): Promise<void> {
    if (form.has('step')) return askForMail(exchange, form, '/verify-email')
    const [token, email, code] = [optional(form, 'token'), optional(form, 'email'), optional(form, 'code')]
    const outcome = await run(exchange, VERIFY, token ? { token } : { email, code })
    if (outcome.email) return show(exchange, 200, verifyEmailPage({ step: 'done', email: outcome.email, ...next() }))
    const why = { error: errorOf(outcome, token), wrong: wrongOf(outcome, token) }
    const again = { csrf: exchange.transport.csrfToken(), ...why, email }
    const isAlive = token && !isRefused(outcome)
    const page = verifyEmailPage(isAlive ? { step: 'confirm', token, ...again } : { step: 'code', ...again })
    show(exchange, Math.max(400, outcome.status), page)
  }

  async function reset(exchange: Exchange, form: URLSearchParams): Promise<void> {
    if (form.has('step')) return askForMail(exchange, form, '/reset-password')
    const [token, email, code] = [optional(form, 'token'), optional(form, 'email'), optional(form, 'code')]
    const proof = token ? { token } : { email, code }
    const outcome = await run(exchange, RESET, { ...proof, newPassword: form.get('newPassword') ?? '' })
    if (outcome.__typename === 'ResetPasswordSuccess') {
      return show(exchange, 200, resetPasswordPage({ step: 'done', message: outcome.message ?? '', ...next() }))
    }
    const { violations = [] } = outcome
    const error = violations.length > 0 ? 'Choose a stronger password.' : errorOf(outcome, token)
    const why = { error, wrong: wrongOf(outcome, token), violations }
    const again = { csrf: exchange.transport.csrfToken(), ...why, requirements, email }
    const page = resetPasswordPage({ step: 'form', ...again, ...(!isRefused(outcome) && { token, code }) })
    show(exchange, Math.max(400, outcome.status), page)
  }

  async function disown(exchange: Exchange, form: URLSearchParams): Promise<void> {
    try {
      const { client, transport } = exchange
      const refusal = await reportNotMe(client, form.get('token') ?? '', (verdict) => transport.reportLimit(verdict))
      if (refusal) {
        exchange.head.set('retry-after', Math.max(1, Math.ceil(refusal.resetMs / 1000)))
        return show(exchange, 429, errorPage(429, 'Too many requests', 'Try again later.'))
      }
    } catch (error) {
      if (!(error instanceof DomainError)) throw error
      return show(exchange, 400, notMePage({ step: 'failed' }))
    }
    show(exchange, 200, notMePage({ step: 'done', ...next() }))
  }

  function open(exchange: Exchange, path: PagePath): void {
    const token = urlOf(exchange.request).searchParams.get('token')
    const csrf = exchange.transport.csrfToken()
    const pages = {
      '/reset-password': () =>
        resetPasswordPage(token ? { step: 'form', token, csrf, requirements } : { step: 'ask', csrf }),
      '/verify-email': () => verifyEmailPage({ csrf, ...(token ? { step: 'confirm', token } : { step: 'ask' }) }),
      '/not-me': () => notMePage({ step: 'confirm', token: token ?? '', csrf }),
    }
    if (path === '/not-me' && !token) show(exchange, 400, notMePage({ step: 'failed' }))
    else show(exchange, 200, pages[path]())
  }

  async function answerForm(exchange: Exchange, path: PagePath, body: Buffer): Promise<void> {
    const form = formOf(body)
    if ([...form.values()].some((value) => value.includes(BROKEN))) {
      return show(exchange, 400, errorPage(400, 'Not readable', 'The form is not in UTF-8.'))
    }
    if (!exchange.transport.isOwnForm(form.get('csrf'))) {
      return show(
        exchange,
        403,
        errorPage(403, 'The form has expired', 'Open the page, or the link of the mail, again.'),
      )
    }
    await { '/verify-email': verify, '/reset-password': reset, '/not-me': disown }[path](exchange, form)
  }

  const finish = (exchange: Exchange, text: string | Buffer, answer: () => Promise<void> | void) =>
    admission.admit(exchange, async () => {
      await graphql.takeRequestTurn(exchange.client.addressKey, text)
      await answer()
    })

  return async (exchange: Exchange, path: PagePath): Promise<void> => {
    const { request, head } = exchange
    if (admission.turnsAway(exchange)) return
    head.set('content-security-policy', PAGE_CSP)
    if (request.method === 'GET' || request.method === 'HEAD') {
      return void (await finish(exchange, request.url ?? '', () => open(exchange, path)))
    }
    if (request.method !== 'POST') {
      head.set('allow', 'GET, POST')
      return show(exchange, 405, errorPage(405, 'Not possible', 'This page is opened, or its form is sent.'))
    }
    const body = await readBody(request, MAX_FORM_BYTES)
    if (!body) {
      head.set('connection', 'close')
      return show(
        exchange,
        413,
        errorPage(413, 'Too much', `A form has ${MAX_FORM_BYTES} bytes at most, in one piece or a few.`),
      )
    }
    await finish(exchange, body, () => answerForm(exchange, path, body))
  }
}

import { type GraphQLError, parse } from 'graphql'
import { DomainError } from '../errors.js'
import type { Log, RateLimitVerdict } from '../ports.js'
import type { Client } from '../services/client.js'
import type { Admission } from './admission.js'
import type { Exchange } from './exchange.js'
import { retryAfterOf, stampErrors, statusOf } from './graphql-errors.js'
import { notMePage } from './not-me-page.js'
import { PAGE_CSP } from './page-layout.js'
import { errorPage, resetPasswordPage, verifyEmailPage } from './pages.js'
import { readBody, send } from './responses.js'
import type { Graphql } from './yoga.js'

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

interface Outcome {
  __typename: string
  email?: string
  message?: string
  violations?: { message: string }[]
}

interface Deps {
  graphql: Graphql
  log: Log
  admission: Admission
  /** The password policy, one sentence each. */
  requirements: readonly string[]
  continueUrl: () => string | undefined
  /** What the button of /not-me does; a verdict, where a limit refused. Throws a DomainError for a dead link. */
  reportNotMe: (client: Client, token: string) => Promise<RateLimitVerdict | null>
}

type PagePath = '/verify-email' | '/reset-password' | '/not-me'

interface Issue {
  message: string
}

/** What to tell a person about an error that is not an outcome. */
function explain(error: GraphQLError): string {
  const issues = error.extensions.issues as Issue[] | undefined
  return issues?.map((issue) => issue.message).join(' ') || error.message
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
    if (error) return { status: Math.max(400, statusOf(result)), __typename: 'Error', message: explain(error) }
    return { status: 200, ...(result.data?.result as Outcome) }
  }

  const optional = (form: URLSearchParams, name: string) => form.get(name)?.trim() || undefined
  const show = ({ head }: Exchange, status: number, page: string) =>
    send(head, status, 'text/html; charset=utf-8', page)
  const next = () => {
    const url = continueUrl()
    return url ? { continueUrl: url } : {}
  }

  async function verify(exchange: Exchange, form: URLSearchParams): Promise<void> {
    const [token, email, code] = [optional(form, 'token'), optional(form, 'email'), optional(form, 'code')]
    const outcome = await run(exchange, VERIFY, token ? { token } : { email, code })
    if (outcome.email) return show(exchange, 200, verifyEmailPage({ step: 'done', email: outcome.email, ...next() }))
    const csrf = exchange.transport.csrfToken()
    const failed = { step: 'failed', message: outcome.message ?? '', csrf, ...(email && { email }) } as const
    show(exchange, Math.max(400, outcome.status), verifyEmailPage(failed))
  }

  async function reset(exchange: Exchange, form: URLSearchParams): Promise<void> {
    const [token, email, code] = [optional(form, 'token'), optional(form, 'email'), optional(form, 'code')]
    const proof = token ? { token } : { email, code }
    const outcome = await run(exchange, RESET, { ...proof, newPassword: form.get('newPassword') ?? '' })
    if (outcome.__typename === 'ResetPasswordSuccess') {
      return show(exchange, 200, resetPasswordPage({ step: 'done', message: outcome.message ?? '', ...next() }))
    }
    const { message = '', violations = [] } = outcome
    // A dead link never works again: the next try takes the code.
    const isDead = outcome.__typename === 'InvalidTokenError'
    const again = { ...(token && !isDead && { token }), ...(email && { email }), ...(code && { code }), requirements }
    const csrf = exchange.transport.csrfToken()
    const heading = violations.length > 0 ? 'Choose a stronger password.' : message
    const failed = { step: 'failed', message: heading, violations, csrf, ...again } as const
    show(exchange, Math.max(400, outcome.status), resetPasswordPage(failed))
  }

  async function disown(exchange: Exchange, form: URLSearchParams): Promise<void> {
    try {
      const refusal = await reportNotMe(exchange.client, form.get('token') ?? '')
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
    const token = new URL(exchange.request.url ?? '/', 'http://localhost').searchParams.get('token')
    const csrf = exchange.transport.csrfToken()
    const pages = {
      '/reset-password': () => resetPasswordPage({ step: 'form', csrf, requirements, ...(token && { token }) }),
      '/verify-email': () => verifyEmailPage(token ? { step: 'confirm', token, csrf } : { step: 'enter-code', csrf }),
      '/not-me': () => notMePage({ step: 'confirm', token: token ?? '', csrf }),
    }
    if (path === '/not-me' && !token) show(exchange, 400, notMePage({ step: 'failed' }))
    else show(exchange, 200, pages[path]())
  }

  return async (exchange: Exchange, path: PagePath): Promise<void> => {
    const { request, head, transport } = exchange
    if (admission.turnsAway(exchange)) return
    head.set('content-security-policy', PAGE_CSP)
    if (request.method === 'GET' || request.method === 'HEAD') return open(exchange, path)
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
    const form = new URLSearchParams(body.toString())
    if ([...form.values()].some((value) => value.includes(BROKEN))) {
      return show(exchange, 400, errorPage(400, 'Not readable', 'The form is not in UTF-8.'))
    }
    if (!transport.isOwnForm(form.get('csrf'))) {
      return show(exchange, 403, errorPage(403, 'The form has expired', 'Open the link of the mail again.'))
    }
    const acts = { '/verify-email': verify, '/reset-password': reset, '/not-me': disown }
    await admission.admit(exchange, () => acts[path](exchange, form))
  }
}

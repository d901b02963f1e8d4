import type { IncomingMessage } from 'node:http'
import type { GraphQLError } from 'graphql'
import { retryAfterOf } from './graphql-errors.js'
import type { Head } from './head.js'
import { PAGE_CSP } from './page-layout.js'
import { errorPage } from './pages.js'
import { send, sendError, sendJson } from './responses.js'

interface Failed {
  request: IncomingMessage
  head: Head
  productName: string
}

const wantsPage = ({ headers }: IncomingMessage) => headers.accept?.includes('text/html') === true

function sendPage({ head, productName }: Failed, status: number, title: string, message: string): void {
  head.set('content-security-policy', PAGE_CSP)
  send(head, status, 'text/html; charset=utf-8', errorPage(status, title, message)(productName))
}

/** Answers a request for which there is no handler, in the form that the client reads: a page for people. */
export function sendNoHandler(failed: Failed, status: 404 | 405): void {
  const { request, head } = failed
  const error = status === 404 ? 'Not found' : 'Method not allowed'
  if (wantsPage(request)) sendPage(failed, status, error, 'There is nothing to see at this address.')
  else sendJson(head, status, { error })
}

/** Answers a request that failed as a whole with its masked error, likewise. */
export function sendFailure(failed: Failed, error: GraphQLError): void {
  const { request, head } = failed
  const isBusy = error.extensions.code === 'SERVICE_UNAVAILABLE'
  const status = isBusy ? 503 : 500
  const retryAfter = retryAfterOf({ errors: [error] })
  if (retryAfter !== null) head.set('retry-after', retryAfter)
  if (!wantsPage(request)) sendError(head, status, error)
  else sendPage(failed, status, isBusy ? 'Not now' : 'This went wrong', error.message)
}

import { expect } from 'vitest'
import type { Mail } from './mailbox.js'

/** The link "this was not me" of a mail. */
export const linkOf = ({ text }: Mail) => new URL(/https?:\S+\/not-me\?token=\S+/.exec(text)?.[0] ?? expect.fail(text))
export const tokenOf = (mail: Mail) => linkOf(mail).searchParams.get('token') ?? ''

/** The page that the link leads to: its form is what a GET has shown. */
export async function openNotMe(url: string, token: string) {
  const response = await fetch(`${url}/not-me?token=${encodeURIComponent(token)}`)
  const page = await response.text()
  const field = (name: string) => new RegExp(`name="${name}" value="([^"]*)"`).exec(page)?.[1] ?? ''
  const cookie = response.headers
    .getSetCookie()
    .map((each) => each.split(';')[0])
    .join('; ')
  async function press(fields: Record<string, string> = {}) {
    const body = new URLSearchParams({ csrf: field('csrf'), token: field('token'), ...fields })
    const answer = await fetch(`${url}/not-me`, { method: 'POST', headers: { cookie }, body })
    return {
      status: answer.status,
      page: await answer.text(),
      requestId: answer.headers.get('x-request-id') ?? '',
      retryAfter: answer.headers.get('retry-after'),
      remaining: answer.headers.get('ratelimit-remaining'),
    }
  }
  return { response, page, press }
}

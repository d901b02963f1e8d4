import { type Client, createClient } from './client.js'
import { CsrfTokenDocument } from './generated/graphql.js'

export interface Cookie {
  name: string
  value: string
  /** As sent: lower-case names, `true` for those without a value. */
  attributes: Record<string, string | true>
}

export interface Browser extends Client {
  /** What the browser keeps. */
  readonly cookies: ReadonlyMap<string, Cookie>
  /** The Set-Cookie headers of the last answer, parsed. */
  lastSetCookies(): Cookie[]
  /** The same browser and cookies, on a page that has asked for the CSRF token and sends it along. */
  withCsrfToken(): Promise<Client>
}

function parse(header: string): Cookie {
  const [pair = '', ...attributes] = header.split(';').map((part) => part.trim())
  const [name = '', ...value] = pair.split('=')
  const parsed = attributes.map((attribute): [string, string | true] => {
    const [key = '', ...rest] = attribute.split('=')
    return [key.toLowerCase(), rest.length > 0 ? rest.join('=') : true]
  })
  return { name, value: decodeURIComponent(value.join('=')), attributes: Object.fromEntries(parsed) }
}

const isGone = ({ attributes }: Cookie) => typeof attributes.expires === 'string' && Date.parse(attributes.expires) <= 0

/** A client that keeps cookies. `cookies`: those that it starts with. */
export function createBrowser(endpoint: string, headers: Record<string, string>): Browser {
  const cookies = new Map<string, Cookie>()
  let last: Cookie[] = []
  const client = createClient(async (init) => {
    const cookie = [...cookies.values()].map(({ name, value }) => `${name}=${encodeURIComponent(value)}`).join('; ')
    const response = await fetch(endpoint, { ...init, headers: { ...init.headers, ...(cookie && { cookie }) } })
    last = response.headers.getSetCookie().map(parse)
    for (const each of last) {
      if (isGone(each)) cookies.delete(each.name)
      else cookies.set(each.name, each)
    }
    return response
  }, headers)
  return {
    ...client,
    cookies,
    lastSetCookies: () => last,
    withCsrfToken: async () => client.with({ 'x-csrf-token': await client.call(CsrfTokenDocument) }),
  }
}

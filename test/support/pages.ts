import { noteCookies, noteSecrets, secretsIn } from './secrets.js'

export interface OpenPage {
  status: number
  headers: Headers
  /** The markup, without the token of the CSRF cookie. */
  html: string
  /** Name and value of each field, hidden ones included, in order. */
  fields: Record<string, string>
  /** Sends its form with what was entered beside what it shows; `step`: which button was pressed, where there are two. */
  send(entered: Record<string, string>): Promise<OpenPage>
}

const ENTITIES: Record<string, string> = { '&lt;': '<', '&gt;': '>', '&quot;': '"', '&#39;': "'", '&amp;': '&' }
const plain = (text: string) => text.replace(/&(lt|gt|quot|#39|amp);/g, (entity) => ENTITIES[entity] as string)

const fieldsOf = (html: string) =>
  Object.fromEntries(
    [...html.matchAll(/<input [^>]*>/g)].map(([input]) => {
      const attribute = (name: string) => plain(new RegExp(` ${name}="([^"]*)"`).exec(input)?.[1] ?? '')
      return [attribute('name'), attribute('value')]
    }),
  )

/** What its form sends back, and nobody sees; the code is one that was entered just now. */
const CARRIED = /<input [^>]*name="(?:csrf|token|code)"[^>]*>/g

/** A page of the server, in a browser of its own that keeps the cookies it was given and follows nothing. */
export async function openPage(url: string, init: RequestInit = {}, cookie = ''): Promise<OpenPage> {
  const response = await fetch(url, { ...init, redirect: 'manual', headers: { ...init.headers, cookie } })
  const [given = ''] = response.headers.getSetCookie()
  const kept = given.split(';', 1)[0] || cookie
  const { origin, pathname, searchParams } = new URL(url)
  const html = await response.text()
  noteSecrets(Object.fromEntries(searchParams))
  noteCookies(response)
  const told = plain(html.replace(CARRIED, ''))
  if (secretsIn(told).length > 0) throw new Error(`A page tells a secret: ${told}`)
  const fields = fieldsOf(html)
  return {
    status: response.status,
    headers: response.headers,
    html: html.replaceAll(fields.csrf || /(?!)/g, 'csrf'),
    fields,
    send: (entered) => {
      noteSecrets(entered)
      const body = new URLSearchParams({ ...fields, ...entered })
      return openPage(origin + pathname, { method: 'POST', body }, kept)
    },
  }
}

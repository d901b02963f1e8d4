// What a page can make a browser send to another origin, with whatever cookies the browser adds.
import type { Page } from 'playwright-core'

/** What became of a try: a status, the word `refused`, or the type of an answer that cannot be read. */
type Attack = (page: Page, endpoint: string, query: string) => Promise<unknown>

const init = (query: string): RequestInit => ({
  method: 'POST',
  credentials: 'include',
  body: JSON.stringify({ query }),
})

const fetchWith = (options: RequestInit): Attack => {
  return (page, endpoint, query) =>
    page.evaluate(
      ([url, request]) =>
        fetch(url, request).then(
          ({ type }) => type,
          () => 'refused',
        ),
      [endpoint, { ...init(query), ...options }] as const,
    )
}

const withType = (type: string, more: Record<string, string> = {}) => ({
  headers: { 'content-type': type, ...more },
})

/** Sends a form, which takes the page to its answer. As text/plain, name and value make up one JSON document. */
const form =
  (enctype: string): Attack =>
  async (page, endpoint, query) => {
    const answered = page.waitForResponse((response) => response.url() === endpoint)
    await page.evaluate(
      ([url, type, text]) => {
        const sent = Object.assign(document.createElement('form'), { method: 'post', action: url, enctype: type })
        const fields =
          type === 'text/plain'
            ? { [`{"query":${JSON.stringify(text)},"x":"`]: '"}' }
            : { query: text, operations: JSON.stringify({ query: text }), map: '{}' }
        for (const [name, value] of Object.entries(fields)) {
          sent.append(Object.assign(document.createElement('input'), { name, value }))
        }
        document.body.append(sent)
        sent.submit()
      },
      [endpoint, enctype, query] as const,
    )
    const response = await answered
    await page.waitForURL(endpoint)
    return response.status()
  }

/** An element that fetches an address as soon as it is in the page. */
const element =
  (name: string, attributes: Record<string, string>, address: 'src' | 'href' | 'data'): Attack =>
  (page, endpoint, query) =>
    page.evaluate(
      ([tag, given, attribute, url]) =>
        new Promise((resolve) => {
          const loading = Object.assign(document.createElement(tag), given, { [attribute]: url })
          loading.onload = () => resolve('loaded')
          loading.onerror = () => resolve('refused')
          document.body.append(loading)
        }),
      [name, attributes, address, `${endpoint}?${new URLSearchParams({ query })}`] as const,
    )

/** A link that is followed: a navigation, with which even cookies that are SameSite=Lax travel between sites. */
const link: Attack = async (page, endpoint, query) => {
  const answered = page.waitForResponse((response) => response.url().startsWith(endpoint))
  await page.evaluate(
    (href) => Object.assign(document.createElement('a'), { href }).click(),
    `${endpoint}?${new URLSearchParams({ query })}`,
  )
  const response = await answered
  await page.waitForURL((url) => url.href.startsWith(endpoint))
  return response.headers()['content-type']
}

const beacon: Attack = (page, endpoint, query) =>
  page.evaluate(([url, body]) => navigator.sendBeacon(url, new Blob([body], { type: 'text/plain' })), [
    endpoint,
    JSON.stringify({ query }),
  ] as const)

/** Everything that might make the server execute a mutation. None may. */
export const MUTATIONS: readonly (readonly [string, Attack, unknown])[] = [
  ['a form of fields', form('application/x-www-form-urlencoded'), 415],
  ['a form with files', form('multipart/form-data'), 415],
  ['a form of text that reads as JSON', form('text/plain'), 415],
  ['fetch of JSON', fetchWith(withType('application/json')), 'refused'],
  ['fetch of JSON without credentials', fetchWith({ ...withType('application/json'), credentials: 'omit' }), 'refused'],
  ['fetch with a made-up token', fetchWith(withType('application/json', { 'x-csrf-token': 'x' })), 'refused'],
  ['fetch of text', fetchWith(withType('text/plain')), 'refused'],
  ['fetch of fields', fetchWith(withType('application/x-www-form-urlencoded')), 'refused'],
  ['blind fetch of text', fetchWith({ ...withType('text/plain'), mode: 'no-cors' }), 'opaque'],
  // Without cors the browser makes text of it.
  ['blind fetch of JSON', fetchWith({ ...withType('application/json'), mode: 'no-cors' }), 'opaque'],
  ['a beacon', beacon, true],
  ['an image', element('img', {}, 'src'), 'refused'],
  ['a script', element('script', {}, 'src'), 'refused'],
  ['a style sheet', element('link', { rel: 'stylesheet' }, 'href'), 'refused'],
  ['a frame', element('iframe', {}, 'src'), 'loaded'],
  // In development the answer is GraphiQL, which shows the operation and does not run it.
  ['a link', link, 'text/html; charset=utf-8'],
]

/** Everything that might make the server tell something, or keep a stream open. */
export const READS: readonly (readonly [string, (page: Page, endpoint: string, query: string) => Promise<unknown>])[] =
  [
    ['fetch', fetchWith(withType('application/json'))],
    [
      'fetch by GET',
      (page, endpoint, query) =>
        page.evaluate(
          (url) =>
            fetch(url, { credentials: 'include' }).then(
              ({ type }) => type,
              () => 'refused',
            ),
          `${endpoint}?${new URLSearchParams({ query })}`,
        ),
    ],
    [
      'a WebSocket',
      (page, endpoint) =>
        page.evaluate(
          (url) =>
            new Promise((resolve) => {
              const opened = new WebSocket(url, 'graphql-transport-ws')
              opened.onopen = () => resolve('open')
              opened.onerror = () => resolve('refused')
            }),
          endpoint.replace('http', 'ws'),
        ),
    ],
    [
      'an EventSource',
      (page, endpoint) =>
        page.evaluate(
          (url) =>
            new Promise((resolve) => {
              const events = new EventSource(url, { withCredentials: true })
              events.onopen = () => resolve('open')
              events.onerror = () => {
                events.close()
                resolve('refused')
              }
            }),
          `${endpoint}?${new URLSearchParams({ query: 'subscription { securityAlerts { cursor } }' })}`,
        ),
    ],
  ]

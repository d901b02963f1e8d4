import { createHash } from 'node:crypto'
import type { GraphiQLOptions } from 'graphql-yoga'
import { EXAMPLE_TABS, withToken } from './example-operations.js'
import { logo } from './page-layout.js'

const LOGO = logo('#4f46e5', ' width="28" height="28"')

/**
 * Subscriptions go over server-sent events: this GraphiQL sends the headers editor with every HTTP request, but never
 * as the connectionParams of a WebSocket.
 */
const graphiqlOptions = {
  title: 'Portcullis',
  logo: LOGO,
  favicon: `data:image/svg+xml,${encodeURIComponent(LOGO)}`,
  endpoint: '/graphql',
  credentials: 'same-origin',
  subscriptionsProtocol: 'SSE',
  shouldPersistHeaders: false,
  defaultEditorToolsVisibility: 'headers',
  defaultHeaders: withToken,
  defaultTabs: EXAMPLE_TABS,
} satisfies GraphiQLOptions

/**
 * What Yoga's options cannot say. Replaces what upstream does with queries, because they hold passwords: here they are
 * never put into the address bar (and so into histories and access logs), and are kept until the browser's tab closes.
 */
const OVERRIDES = "{ storage: window.sessionStorage, onEditQuery() {}, initialHeaders: '{}' }"

/** Upstream moves a tab away under the pointer when it is first pressed, so that the click misses it. */
const STYLE = '<style>.graphiql-tab { transform: none !important }</style>'

const RENDER_CALL = 'YogaGraphiQL.renderYogaGraphiQL('

interface GraphiqlPage {
  html: string
  /** Only for this page. Scripts run by hash; Monaco, the editor, writes style elements and so needs inline styles. */
  contentSecurityPolicy: string
}

async function build(): Promise<GraphiqlPage> {
  // Imported on first use: the module holds 9 MB of text that a server without GraphiQL never needs.
  const { renderGraphiQL } = await import('@graphql-yoga/render-graphiql')
  const upstream = renderGraphiQL(graphiqlOptions).trim()
  const scriptAt = upstream.indexOf('<script>') + '<script>'.length
  const callAt = upstream.lastIndexOf(RENDER_CALL)
  if (callAt < scriptAt)
    throw new Error('GraphiQL renders itself in another way than this version of Portcullis knows.')
  const options = JSON.stringify(graphiqlOptions).replaceAll('<', '\\u003c')
  const call = `${RENDER_CALL}document.querySelector('#root'), { ...${options}, ...${OVERRIDES} });`
  const script = `${upstream.slice(scriptAt, callAt)}${call}`
  const hash = createHash('sha256').update(script).digest('base64')
  return {
    html: `${upstream.slice(0, scriptAt).replace('</head>', `${STYLE}</head>`)}${script}</script></body></html>`,
    contentSecurityPolicy: [
      `default-src 'none'`,
      `script-src 'sha256-${hash}'`,
      `style-src 'unsafe-inline'`,
      'font-src data:',
      'img-src data:',
      'worker-src blob:',
      `connect-src 'self'`,
      `form-action 'none'`,
      `base-uri 'none'`,
      `frame-ancestors 'none'`,
    ].join('; '),
  }
}

let page: Promise<GraphiqlPage> | undefined

/** The page and the policy to serve it with; built once. Nothing in it is loaded from anywhere else. */
export function graphiqlPage(): Promise<GraphiqlPage> {
  page ??= build()
  return page
}

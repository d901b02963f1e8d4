import { toWire } from './http-connection.js'

export const ME = 'query { me { id email username displayName role permissions emailVerified createdAt } }'

export const SESSIONS = `query {
  sessions(first: 10) {
    edges { cursor node { id deviceName deviceType browser os ipAddress createdAt lastActivityAt isCurrent isActive } }
    pageInfo { hasNextPage endCursor }
  }
}`

const LOGIN = `mutation ($input: LoginInput!) {
  login(input: $input) {
    __typename
    ... on LoginSuccess {
      authentication { accessToken refreshToken expiresAt user { id email displayName role permissions } }
    }
    ... on UserError { code }
  }
}`

export const REFRESH = `mutation ($input: RefreshInput) {
  refresh(input: $input) {
    __typename
    ... on RefreshSuccess { outcome authentication { accessToken refreshToken expiresAt } }
    ... on UserError { code }
  }
}`

const auditPage = (fields: string) => `query {
  auditLog(scope: EVERYONE, first: 50, filter: { types: [LOGIN_SUCCEEDED] }) { edges { node { ${fields} } } }
}`
export const AUDIT_PAGE = auditPage('id type userId')
export const AUDIT_PAGE_WITH_USERS = auditPage('id type userId user { email }')

export const loginBody = (identifier: string, password: string): string =>
  JSON.stringify({ query: LOGIN, variables: { input: { identifier, password, tokenDelivery: 'BODY' } } })

export const queryWire = (port: number, query: string, token?: string): string =>
  toWire(port, JSON.stringify({ query }), token)

/** One request outside of any measurement. */
export async function request<Data>(origin: string, body: string, token?: string): Promise<Data> {
  const response = await fetch(`${origin}/graphql`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      // The same device as the load's, so that no login looks like one from a new device.
      'user-agent': 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0',
      ...(token && { authorization: `Bearer ${token}` }),
    },
    body,
  })
  const text = await response.text()
  const { data, errors } = JSON.parse(text) as { data?: Data; errors?: unknown }
  if (errors || !data) throw new Error(`The server answered ${response.status} ${text.slice(0, 500)}`)
  return data
}

export interface Tokens {
  accessToken: string
  refreshToken: string
}

export async function logIn(origin: string, identifier: string, password: string): Promise<Tokens> {
  type Data = { login: { __typename: string; authentication?: Tokens } }
  const { login } = await request<Data>(origin, loginBody(identifier, password))
  if (!login.authentication) throw new Error(`${identifier} could not log in: ${login.__typename}`)
  return login.authentication
}

/** The sum of a metric over its labels, or over those that contain the text. */
export type Metrics = (name: string, label?: string) => number

export async function readMetrics(origin: string): Promise<Metrics> {
  const response = await fetch(`${origin}/metrics`)
  if (!response.ok) throw new Error(`/metrics answered ${response.status}`)
  const lines = (await response.text()).split('\n')
  return (name, label = '') =>
    lines
      .filter((line) => (line.startsWith(`${name} `) || line.startsWith(`${name}{`)) && line.includes(label))
      .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0)
}

import { ApolloClient, ApolloLink, CombinedGraphQLErrors, gql, HttpLink, InMemoryCache } from '@apollo/client'
import { SetContextLink } from '@apollo/client/link/context'
import { GraphQLWsLink } from '@apollo/client/link/subscriptions'
import { type Client, createClient } from 'graphql-ws'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import {
  AuditLogDocument,
  ChangePasswordDocument,
  ExchangeTokenDocument,
  LoginDocument,
  LogoutDocument,
  MeDocument,
  RefreshDocument,
  RegisterDocument,
  SessionsDocument,
  TerminateSessionDocument,
  UpdateProfileDocument,
  VerifyEmailDocument,
} from '../support/generated/graphql.js'
import {
  ask,
  linkIn,
  mailTo,
  OTHER_PASSWORD,
  PASSWORD,
  type Server,
  startServer,
  stopEverything,
  VERIFICATION_SUBJECT,
} from './support.js'

const EMAIL = 'grace@example.com'
const LIVE = { timeout: 60_000, interval: 50 }
const SESSION_ENDED = 4403

const SECURITY_ALERTS = gql`
  subscription SecurityAlerts($after: String, $minRiskLevel: RiskLevel! = LOW) {
    securityAlerts(after: $after, minRiskLevel: $minRiskLevel) {
      cursor
      node {
        id
        type
      }
    }
  }
`
interface Alert {
  securityAlerts: { cursor: string; node: { id: string; type: string } }
}

let server: Server
let possibleTypes: Record<string, string[]>
const devices: Device[] = []

beforeAll(async () => {
  server = await startServer()
  const { __type } = await ask(server, '{ __type(name: "UserError") { possibleTypes { name } } }')
  const failures = (__type?.possibleTypes ?? []) as { name: string }[]
  possibleTypes = { UserError: failures.map(({ name }) => name) }
})

afterAll(async () => {
  for (const { client, socket } of devices) {
    client.stop()
    await socket.dispose()
  }
  await stopEverything()
})

interface Device {
  client: ApolloClient
  socket: Client
  /** Close codes of its WebSocket. */
  closed: number[]
  tokens: { accessToken: string; refreshToken?: string | null }
}

/** An application as Apollo's documentation builds it: subscriptions over WebSocket, everything else over HTTP. */
function openDevice(): Device {
  const tokens: Device['tokens'] = { accessToken: '' }
  const closed: number[] = []
  const headers = () => (tokens.accessToken ? { authorization: `Bearer ${tokens.accessToken}` } : {})
  const socket = createClient({
    url: `${server.url.replace('http', 'ws')}/graphql`,
    webSocketImpl: WebSocket,
    connectionParams: headers,
    retryAttempts: 0,
    on: { closed: (event) => closed.push((event as CloseEvent).code) },
  })
  const http = new SetContextLink(() => ({ headers: headers() })).concat(new HttpLink({ uri: `${server.url}/graphql` }))
  const client = new ApolloClient({
    cache: new InMemoryCache({ possibleTypes }),
    link: ApolloLink.split(({ operationType }) => operationType === 'subscription', new GraphQLWsLink(socket), http),
  })
  const device = { client, socket, closed, tokens }
  devices.push(device)
  return device
}

/** The alerts that arrive from now on, or after the cursor. */
function followAlerts({ client }: Device, after?: string) {
  const types: string[] = []
  const cursors: string[] = []
  const state = { isOver: false }
  client.subscribe<Alert>({ query: SECURITY_ALERTS, variables: { after }, fetchPolicy: 'no-cache' }).subscribe({
    next({ data }) {
      if (!data) return
      types.push(data.securityAlerts.node.type)
      cursors.push(data.securityAlerts.cursor)
    },
    complete: () => {
      state.isOver = true
    },
    error: () => {
      state.isOver = true
    },
  })
  return { types, cursors, state }
}

/** The success of a union, or else what it was instead. */
function success<T extends { __typename: string }, N extends T['__typename']>(
  result: T | null | undefined,
  name: N,
): Extract<T, { __typename: N }> {
  expect(result).toMatchObject({ __typename: name })
  return result as Extract<T, { __typename: N }>
}

it('serves an application with Apollo Client from the registration to the end of a session', async () => {
  const laptop = openDevice()
  const { client, tokens } = laptop

  const registered = await client.mutate({
    mutation: RegisterDocument,
    variables: { input: { email: EMAIL, password: PASSWORD, termsAccepted: true, privacyPolicyAccepted: true } },
  })
  expect(success(registered.data?.register, 'RegisterSuccess').email).toBe(EMAIL)

  const token = new URL(linkIn(await mailTo(server, EMAIL, VERIFICATION_SUBJECT))).searchParams.get('token')
  const verified = await client.mutate({ mutation: VerifyEmailDocument, variables: { input: { token } } })
  const { exchangeToken } = success(verified.data?.verifyEmail, 'VerifyEmailSuccess')

  const exchanged = await client.mutate({
    mutation: ExchangeTokenDocument,
    variables: { input: { token: exchangeToken, deviceName: 'Laptop', tokenDelivery: 'BODY' } },
  })
  const { authentication, firstLogin } = success(exchanged.data?.exchangeToken, 'ExchangeTokenSuccess')
  expect(firstLogin).toBe(true)
  Object.assign(tokens, authentication)

  const { types, cursors } = followAlerts(laptop)

  const { data: me } = await client.query({ query: MeDocument })
  expect(me?.me).toMatchObject({ email: EMAIL, emailVerified: true, currentSession: { deviceName: 'Laptop' } })
  const { data: sessions } = await client.query({ query: SessionsDocument })
  expect(sessions?.sessions.edges.map(({ node }) => node.deviceName)).toEqual(['Laptop'])
  const { data: log } = await client.query({ query: AuditLogDocument, variables: { first: 20 } })
  const events = log?.auditLog.edges.map(({ node }) => node.type)
  expect(events).toEqual(expect.arrayContaining(['REGISTERED', 'EMAIL_VERIFIED', 'TOKEN_EXCHANGED']))

  const profile = { displayName: 'Grace' }
  await client.mutate({ mutation: UpdateProfileDocument, variables: { input: profile } })
  expect(client.readQuery({ query: MeDocument })?.me).toMatchObject(profile)
  await expect.poll(() => types, LIVE).toContain('PROFILE_UPDATED')

  const refreshed = await client.mutate({
    mutation: RefreshDocument,
    variables: { input: { refreshToken: tokens.refreshToken } },
  })
  Object.assign(tokens, success(refreshed.data?.refresh, 'RefreshSuccess').authentication)
  await expect.poll(() => types, LIVE).toContain('TOKEN_REFRESHED')

  const changed = await client.mutate({
    mutation: ChangePasswordDocument,
    variables: { input: { currentPassword: PASSWORD, newPassword: OTHER_PASSWORD } },
  })
  Object.assign(tokens, success(changed.data?.changePassword, 'ChangePasswordSuccess').authentication)
  await expect.poll(() => types, LIVE).toContain('PASSWORD_CHANGED')

  const phone = openDevice()
  const signedIn = await phone.client.mutate({
    mutation: LoginDocument,
    variables: { input: { identifier: EMAIL, password: OTHER_PASSWORD, deviceName: 'Phone', tokenDelivery: 'BODY' } },
  })
  const { authentication: onPhone } = success(signedIn.data?.login, 'LoginSuccess')
  Object.assign(phone.tokens, onPhone)
  await expect.poll(() => types, LIVE).toContain('LOGIN_SUCCEEDED')
  const followedOnPhone = followAlerts(phone, cursors[0])
  await expect.poll(() => followedOnPhone.cursors, LIVE).toEqual(cursors.slice(1))

  const terminated = await client.mutate({
    mutation: TerminateSessionDocument,
    variables: { input: { sessionId: onPhone.session.id } },
  })
  const { session } = success(terminated.data?.terminateSession, 'TerminateSessionSuccess')
  expect(session).toMatchObject({ deviceName: 'Phone', isActive: false, endReason: 'TERMINATED' })
  await expect.poll(() => types, LIVE).toContain('SESSION_TERMINATED')
  expect(new Set(cursors).size).toBe(cursors.length)

  const refused = await phone.client.query({ query: SessionsDocument }).catch((error) => error)
  expect(CombinedGraphQLErrors.is(refused)).toBe(true)
  expect(refused.errors[0].extensions.code).toBe('UNAUTHENTICATED')
  await expect.poll(() => phone.closed, LIVE).toEqual([SESSION_ENDED])
  expect(followedOnPhone.state.isOver).toBe(true)
  expect(laptop.closed).toEqual([])

  await client.mutate({ mutation: LogoutDocument })
  await expect.poll(() => laptop.closed, LIVE).toEqual([SESSION_ENDED])
})

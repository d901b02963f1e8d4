import type { Browser } from './browser.js'
import { type Client, expectType } from './client.js'
import {
  AuditLogDocument,
  type AuthenticationFieldsFragment,
  type EventFieldsFragment,
  LoginDocument,
  type LoginInput,
  MeDocument,
  RefreshDocument,
  type SessionFieldsFragment,
  SessionsDocument,
} from './generated/graphql.js'

export interface Account {
  email: string
  password: string
}

/** A person who is signed in, with tokens of her own (TokenDelivery BODY). */
export interface User extends Client, Account {
  id: string
  sessionId: string
  accessToken: string
  refreshToken: string
  authentication: AuthenticationFieldsFragment
  /** A further session of the same account. The headers say from which device and address. */
  logIn(input?: Partial<LoginInput>, headers?: Record<string, string>): Promise<User>
  /** A browser that is signed in to the same account by cookies. */
  openBrowser(input?: Partial<LoginInput>): Promise<Browser>
  /** The same session with the next pair of tokens. */
  refreshed(): Promise<User>
  sessions(includeEnded?: boolean): Promise<SessionFieldsFragment[]>
  /** Everything that she can see of her account: to say that nothing has changed. */
  state(): Promise<{ me: unknown; sessions: SessionFieldsFragment[]; events: EventFieldsFragment[] }>
}

interface Deps {
  account: Account
  anonymous: Client
  browser: () => Browser
}

/** The person whom an answer has signed in. */
export function createUser(authentication: AuthenticationFieldsFragment, deps: Deps): User {
  const { account, anonymous, browser } = deps
  const { accessToken, refreshToken, user, session } = authentication
  if (!refreshToken) throw new Error('The tokens are not in the answer')
  const client = anonymous.with({ authorization: `Bearer ${accessToken}` })
  const credentials = (input: Partial<LoginInput>) => ({
    identifier: account.email,
    password: account.password,
    ...input,
  })
  const sessions = async (includeEnded = false) => {
    const { edges } = await client.call(SessionsDocument, { first: 100, includeEnded })
    return edges.map(({ node }) => node)
  }
  return {
    ...client,
    ...account,
    ...{ id: user.id, sessionId: session.id, accessToken, refreshToken, authentication, sessions },

    async logIn(input = {}, headers = {}) {
      const caller = anonymous.with(headers)
      const result = await caller.call(LoginDocument, { input: { ...credentials(input), tokenDelivery: 'BODY' } })
      const next = { ...account, ...(input.password && { password: input.password }) }
      return createUser(expectType(result, 'LoginSuccess').authentication, {
        ...deps,
        account: next,
        anonymous: caller,
      })
    },

    async openBrowser(input = {}) {
      const opened = browser()
      const result = await opened.call(LoginDocument, { input: { ...credentials(input), tokenDelivery: 'COOKIE' } })
      expectType(result, 'LoginSuccess')
      return opened
    },

    async refreshed() {
      const result = await anonymous.call(RefreshDocument, { input: { refreshToken } })
      return createUser(expectType(result, 'RefreshSuccess').authentication, deps)
    },

    async state() {
      const { edges } = await client.call(AuditLogDocument, { first: 100 })
      const me = await client.call(MeDocument)
      return { me, sessions: await sessions(true), events: edges.map(({ node }) => node) }
    },
  }
}

import { type DocumentNode, print } from 'graphql'
import type { Client } from './client.js'
import {
  type AuthenticationFieldsFragment,
  ChangePasswordDocument,
  LoginDocument,
  LogoutDocument,
  MeDocument,
  RefreshDocument,
  TerminateSessionDocument,
} from './generated/graphql.js'
import type { Answer, Bearer, Call } from './session-model.js'

interface Result {
  __typename?: string
  outcome?: string
  reason?: string
  session?: { id: string }
  currentSession?: { id: string }
  terminatedSessions?: number
  authentication?: AuthenticationFieldsFragment
}

function toAnswer(result: Result | null): Answer {
  if (!result) return { type: 'null' }
  const { __typename: type = 'User', authentication, outcome, reason, terminatedSessions } = result
  const session = authentication?.session ?? result.session ?? result.currentSession
  const detail = outcome ?? reason
  return {
    type,
    ...(detail && { detail }),
    ...(session && { sessionId: session.id }),
    ...(terminatedSessions !== undefined && { terminatedSessions }),
    ...(authentication && {
      refreshToken: authentication.refreshToken ?? '',
      accessToken: authentication.accessToken,
    }),
  }
}

/** Makes a call of the model to a server, for the account of that address. */
export function makeCall(anonymous: Client, email: string, call: Call): Promise<Answer> {
  async function ask(document: DocumentNode, input?: object, by?: Bearer): Promise<Answer> {
    const client = by ? anonymous.with({ authorization: `Bearer ${by.value}` }) : anonymous
    const { data, errors } = await client.post(JSON.stringify({ query: print(document), variables: { input } }))
    if (errors[0]) return { type: errors[0].extensions.code }
    return toAnswer(Object.values(data as Record<string, Result | null>)[0] ?? null)
  }
  switch (call.action) {
    case 'login':
      return ask(LoginDocument, { identifier: email, password: call.password, tokenDelivery: 'BODY' })
    case 'refresh':
      return ask(RefreshDocument, { refreshToken: call.token })
    case 'me':
      return ask(MeDocument, undefined, call.by)
    case 'logout':
      return ask(LogoutDocument, undefined, call.by)
    case 'terminate':
      return ask(TerminateSessionDocument, { sessionId: call.sessionId }, call.by)
    case 'changePassword':
      return ask(ChangePasswordDocument, { currentPassword: call.current, newPassword: call.next }, call.by)
  }
}

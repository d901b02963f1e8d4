import { describe, expect, test } from 'vitest'
import { AUDIT_EVENTS } from '../../src/audit-events.js'
import { startApp } from '../support/app.js'
import { type Circumstance, createCircumstances } from '../support/circumstances.js'
import type { AuditEventType } from '../support/generated/graphql.js'

const app = await startApp()
const circumstances = createCircumstances(app)

type Outcome = [circumstance: Circumstance, member: string, events: AuditEventType[]]

/** What every outcome leaves in the log. Nothing: it has changed nothing, and no credential of an account was judged. */
const OUTCOMES: Outcome[] = [
  ['register: a new address', 'RegisterSuccess', ['REGISTERED', 'EMAIL_VERIFICATION_SENT']],
  ['register: a known address', 'RegisterSuccess', ['REGISTERED', 'EMAIL_VERIFICATION_SENT']],
  ['register: a weak password', 'WeakPasswordError', ['REGISTERED']],
  ['register: a taken username', 'UsernameTakenError', ['REGISTERED']],
  ['verifyEmail: a good token', 'VerifyEmailSuccess', ['EMAIL_VERIFIED']],
  ['verifyEmail: an unknown token', 'InvalidTokenError', ['EMAIL_VERIFIED']],
  ['resendVerificationEmail: an address that waits', 'ResendVerificationEmailSuccess', ['EMAIL_VERIFICATION_SENT']],
  ['resendVerificationEmail: a verified address', 'ResendVerificationEmailSuccess', ['EMAIL_VERIFICATION_SENT']],
  ['resendVerificationEmail: an unknown address', 'ResendVerificationEmailSuccess', ['EMAIL_VERIFICATION_SENT']],
  ['login: the correct password', 'LoginSuccess', ['LOGIN_SUCCEEDED', 'SESSION_CREATED']],
  ['login: a wrong password', 'InvalidCredentialsError', ['LOGIN_FAILED']],
  ['login: an unknown account', 'InvalidCredentialsError', ['LOGIN_FAILED']],
  ['login: the failure that locks', 'AccountLockedError', ['LOGIN_FAILED', 'ACCOUNT_LOCKED']],
  ['login: a locked account', 'AccountLockedError', ['LOGIN_FAILED']],
  ['login: an address that waits', 'EmailNotVerifiedError', ['LOGIN_FAILED']],
  ['exchangeToken: a good token', 'ExchangeTokenSuccess', ['TOKEN_EXCHANGED', 'SESSION_CREATED']],
  ['exchangeToken: an unknown token', 'InvalidTokenError', ['TOKEN_EXCHANGED']],
  ['refresh: a live token', 'RefreshSuccess', ['TOKEN_REFRESHED']],
  ['refresh: a token that comes again', 'RefreshSuccess', ['TOKEN_REFRESHED']],
  [
    'refresh: a token that comes again too late',
    'InvalidRefreshTokenError',
    ['SESSION_TERMINATED', 'TOKEN_REUSE_DETECTED'],
  ],
  ['refresh: an unknown token', 'InvalidRefreshTokenError', ['TOKEN_REFRESHED']],
  ['logout: a session', 'LogoutSuccess', ['LOGGED_OUT']],
  ['logout: no session', 'LogoutSuccess', []],
  ['verifyToken: a good token', 'VerifyTokenSuccess', []],
  ['verifyToken: an unknown token', 'InvalidTokenError', []],
  ['changePassword: a good one', 'ChangePasswordSuccess', ['PASSWORD_CHANGED']],
  ['changePassword: a wrong current one', 'InvalidCredentialsError', ['PASSWORD_CHANGE_FAILED']],
  ['changePassword: a weak one', 'WeakPasswordError', ['PASSWORD_CHANGE_FAILED']],
  ['requestPasswordReset: a known address', 'RequestPasswordResetSuccess', ['PASSWORD_RESET_REQUESTED']],
  ['requestPasswordReset: an unknown address', 'RequestPasswordResetSuccess', ['PASSWORD_RESET_REQUESTED']],
  ['resetPassword: a good token', 'ResetPasswordSuccess', ['SESSION_TERMINATED', 'PASSWORD_RESET_COMPLETED']],
  ['resetPassword: an unknown token', 'InvalidTokenError', ['PASSWORD_RESET_COMPLETED']],
  ['resetPassword: a weak password', 'WeakPasswordError', ['PASSWORD_RESET_COMPLETED']],
  ['checkPassword: a good one', 'CheckPasswordSuccess', []],
  ['checkPassword: a weak one', 'WeakPasswordError', []],
  ['terminateSession: an own one', 'TerminateSessionSuccess', ['SESSION_TERMINATED']],
  ['terminateSession: none of mine', 'SessionNotFoundError', ['SESSION_TERMINATED']],
  ['terminateAllSessions: one other', 'TerminateAllSessionsSuccess', ['SESSION_TERMINATED']],
  ['terminateAllSessions: no other', 'TerminateAllSessionsSuccess', []],
  ['updateProfile: a change', 'UpdateProfileSuccess', ['PROFILE_UPDATED']],
  ['updateProfile: a taken username', 'UsernameTakenError', ['PROFILE_UPDATED']],
]

const mutationOf = (circumstance: string) => circumstance.split(':')[0] ?? ''

describe('what a mutation leaves in the log', () => {
  test.each(OUTCOMES)('%s: %s', async (circumstance, member, events) => {
    const answer = await circumstances[circumstance]()
    expect(answer.data).toMatchObject({ [mutationOf(circumstance)]: { __typename: member } })
    expect(await app.eventsFrom(answer)).toEqual(events)
  })

  test('is said for every circumstance above, and for each member of every result', async () => {
    expect(OUTCOMES.map(([circumstance]) => circumstance).sort()).toEqual(Object.keys(circumstances).sort())
    const query = '{ __schema { mutationType { fields { name type { ofType { possibleTypes { name } } } } } } }'
    const { data } = (await app.anonymous.post(JSON.stringify({ query }))) as {
      data: {
        __schema: {
          mutationType: { fields: { name: string; type: { ofType: { possibleTypes: { name: string }[] } } }[] }
        }
      }
    }
    const possible = data.__schema.mutationType.fields.flatMap(({ name, type }) =>
      type.ofType.possibleTypes.map((member) => `${name} ${member.name}`),
    )
    const said = new Set(OUTCOMES.map(([circumstance, member]) => `${mutationOf(circumstance)} ${member}`))
    expect(possible.filter((outcome) => !said.has(outcome))).toEqual([])
  })
})

test('an event tells whether what it names has succeeded, in words too', async () => {
  const outcomes = [
    ['register: a weak password', false],
    ['register: a known address', false],
    ['verifyEmail: an unknown token', false],
    ['exchangeToken: an unknown token', false],
    ['refresh: an unknown token', false],
    ['resetPassword: a weak password', false],
    ['terminateSession: none of mine', false],
    ['updateProfile: a taken username', false],
    ['requestPasswordReset: an unknown address', false],
    ['resendVerificationEmail: a verified address', false],
    ['changePassword: a good one', true],
  ] as const
  for (const [circumstance, success] of outcomes) {
    const { requestId } = await circumstances[circumstance]()
    const events = (await app.allEvents()).filter(({ correlationId }) => correlationId === requestId)
    expect(new Set(events.map((event) => event.success)), circumstance).toEqual(new Set([success]))
    for (const { type, description } of events)
      expect(description === AUDIT_EVENTS[type].sentence, `${circumstance}: ${description}`).toBe(success)
  }
})

test('a wrong code is less of a risk than the reset that it was meant for', async () => {
  const risks: [Circumstance, string][] = [
    ['resetPassword: an unknown token', 'MEDIUM'],
    ['resetPassword: a good token', 'HIGH'],
  ]
  for (const [circumstance, riskLevel] of risks) {
    const { requestId } = await circumstances[circumstance]()
    const events = (await app.allEvents()).filter(({ correlationId }) => correlationId === requestId)
    expect(events.find(({ type }) => type === 'PASSWORD_RESET_COMPLETED')).toMatchObject({ riskLevel })
  }
})

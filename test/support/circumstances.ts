import { NEXT_PASSWORD, type TestApp } from './app.js'
import { type Answer, expectType } from './client.js'
import {
  ChangePasswordDocument,
  CheckPasswordDocument,
  ExchangeTokenDocument,
  LoginDocument,
  LogoutDocument,
  RefreshDocument,
  RegisterDocument,
  RequestPasswordResetDocument,
  ResendVerificationEmailDocument,
  ResetPasswordDocument,
  TerminateAllSessionsDocument,
  TerminateSessionDocument,
  UpdateProfileDocument,
  VerifyEmailDocument,
  VerifyTokenDocument,
} from './generated/graphql.js'
import { proofOf, SUBJECTS } from './mailbox.js'

const UNKNOWN_ID = '0190c5e8-0000-7000-8000-000000000001'
const UNKNOWN_TOKEN = 'A'.repeat(43)
const NOBODY = 'nobody@example.com'
const WEAK = 'password'

/** Ways to bring every mutation to each of its outcomes. Each one ends with the call of that mutation. */
export function createCircumstances(app: TestApp) {
  const { anonymous, clock, newUser } = app
  let usernames = 0
  const newUsername = () => {
    usernames += 1
    return `username${usernames}`
  }
  const register = (given: Parameters<TestApp['newAccount']>[0]) =>
    anonymous.execute(RegisterDocument, { input: app.newAccount(given) })
  const verify = (token: string) => anonymous.execute(VerifyEmailDocument, { input: { token } })
  const resend = (email: string) => anonymous.execute(ResendVerificationEmailDocument, { input: { email } })
  const logIn = (identifier: string, password = NEXT_PASSWORD) =>
    anonymous.execute(LoginDocument, { input: { identifier, password } })
  const exchange = (token: string) => anonymous.execute(ExchangeTokenDocument, { input: { token } })
  const refresh = (refreshToken: string) => anonymous.execute(RefreshDocument, { input: { refreshToken } })
  const verifyToken = (token: string) => anonymous.execute(VerifyTokenDocument, { input: { token } })
  const requestReset = (email: string) => anonymous.execute(RequestPasswordResetDocument, { input: { email } })
  const reset = (token: string, newPassword = NEXT_PASSWORD) =>
    anonymous.execute(ResetPasswordDocument, { input: { token, newPassword } })
  const check = (password: string) => anonymous.execute(CheckPasswordDocument, { input: { password } })

  async function change(currentPassword: string, newPassword: string) {
    const input = { currentPassword, newPassword }
    return (await newUser({ password: 'violet kettle beyond nine doors' })).execute(ChangePasswordDocument, { input })
  }
  async function verificationToken(): Promise<string> {
    const { email } = await app.register()
    return proofOf(await app.mail(email, SUBJECTS.verification)).token
  }
  async function exchangeToken(): Promise<string> {
    const { data } = await verify(await verificationToken())
    return expectType(data.verifyEmail, 'VerifyEmailSuccess').exchangeToken
  }
  async function resetToken(): Promise<string> {
    const { email } = await newUser()
    await requestReset(email)
    return proofOf(await app.mail(email, SUBJECTS.reset)).token
  }
  async function logInAfter(failures: number) {
    const { email } = await newUser()
    for (let time = 1; time <= failures; time += 1) await logIn(email)
    return logIn(email)
  }
  async function refreshAgain(after?: '31s') {
    const { refreshToken } = await newUser()
    await refresh(refreshToken)
    if (after) clock.advance(after)
    return refresh(refreshToken)
  }
  async function terminate(sessionId?: string) {
    const ada = await newUser()
    const input = { sessionId: sessionId ?? (await ada.logIn()).sessionId }
    return ada.execute(TerminateSessionDocument, { input })
  }
  async function rename(username: string) {
    return (await newUser()).execute(UpdateProfileDocument, { input: { username } })
  }

  return {
    'register: a new address': () => register({}),
    'register: a known address': async () => register({ email: (await newUser()).email }),
    'register: a weak password': () => register({ password: WEAK }),
    'register: a taken username': async () => {
      const username = newUsername()
      await newUser({ username })
      return register({ username })
    },
    'verifyEmail: a good token': async () => verify(await verificationToken()),
    'verifyEmail: an unknown token': () => verify(UNKNOWN_TOKEN),
    'resendVerificationEmail: an address that waits': async () => resend((await app.register()).email),
    'resendVerificationEmail: a verified address': async () => resend((await newUser()).email),
    'resendVerificationEmail: an unknown address': () => resend(NOBODY),
    'login: the correct password': async () => {
      const { email, password } = await newUser()
      return logIn(email, password)
    },
    'login: a wrong password': async () => logIn((await newUser()).email),
    'login: an unknown account': () => logIn('somebody@example.com'),
    'login: the failure that locks': () => logInAfter(4),
    'login: a locked account': () => logInAfter(5),
    'login: an address that waits': async () => {
      const { email, password } = await app.register()
      return logIn(email, password)
    },
    'exchangeToken: a good token': async () => exchange(await exchangeToken()),
    'exchangeToken: an unknown token': () => exchange(UNKNOWN_TOKEN),
    'refresh: a live token': async () => refresh((await newUser()).refreshToken),
    'refresh: a token that comes again': () => refreshAgain(),
    'refresh: a token that comes again too late': () => refreshAgain('31s'),
    'refresh: an unknown token': () => refresh(UNKNOWN_TOKEN),
    'logout: a session': async () => (await newUser()).execute(LogoutDocument),
    'logout: no session': () => anonymous.execute(LogoutDocument),
    'verifyToken: a good token': async () => verifyToken((await newUser()).accessToken),
    'verifyToken: an unknown token': () => verifyToken(UNKNOWN_TOKEN),
    'changePassword: a good one': () => change('violet kettle beyond nine doors', NEXT_PASSWORD),
    'changePassword: a wrong current one': () => change('not my password at all', NEXT_PASSWORD),
    'changePassword: a weak one': () => change('violet kettle beyond nine doors', WEAK),
    'requestPasswordReset: a known address': async () => requestReset((await newUser()).email),
    'requestPasswordReset: an unknown address': () => requestReset(NOBODY),
    'resetPassword: a good token': async () => reset(await resetToken()),
    'resetPassword: an unknown token': () => reset(UNKNOWN_TOKEN),
    'resetPassword: a weak password': async () => reset(await resetToken(), WEAK),
    'checkPassword: a good one': () => check(NEXT_PASSWORD),
    'checkPassword: a weak one': () => check(WEAK),
    'terminateSession: an own one': () => terminate(),
    'terminateSession: none of mine': () => terminate(UNKNOWN_ID),
    'terminateAllSessions: one other': async () => {
      const ada = await newUser()
      await ada.logIn()
      return ada.execute(TerminateAllSessionsDocument)
    },
    'terminateAllSessions: no other': async () => (await newUser()).execute(TerminateAllSessionsDocument),
    'updateProfile: a change': () => rename(newUsername()),
    'updateProfile: a taken username': async () => {
      const username = newUsername()
      await newUser({ username })
      return rename(username)
    },
  } satisfies Record<string, () => Promise<Answer<unknown>>>
}

export type Circumstance = keyof ReturnType<typeof createCircumstances>

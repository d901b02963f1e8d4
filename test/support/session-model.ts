// What the sessions of one account should do, as a model that knows the rules and nothing of how they are kept.
import ms, { type StringValue } from 'ms'

/** What the server has to be started with: the model goes by the same. */
export const LIFETIMES = {
  ACCESS_TOKEN_LIFETIME: '15m',
  REFRESH_TOKEN_LIFETIME: '4d',
  SESSION_IDLE_TIMEOUT: '3d',
  REFRESH_GRACE_PERIOD: '40s',
} as const satisfies Record<string, StringValue>

const CLOCK_SKEW_MS = 5_000
const ACTIVITY_EVERY_MS = 60_000

/** An access token. */
export interface Bearer {
  value: string
  sessionId: string
  expiresAt: number
}

type EndReason = 'LOGOUT' | 'TERMINATED' | 'PASSWORD_CHANGED' | 'TOKEN_REUSED' | 'EXPIRED'

export interface ModelSession {
  id: string
  /** The access token that was given out last. */
  bearer: Bearer
  expiresAt: number
  lastActivityAt: number
  /** Null too when it has ended by itself. */
  endReason: EndReason | null
  /** The refresh token that is live, or was when the session ended: never more than this one. */
  leaf: string
  /** Of the refresh tokens that were used and are still known, when, and what took their place. */
  rotated: Map<string, { at: number; successor: string }>
  /** Every refresh token that it ever had, the latest last. */
  issued: string[]
}

export interface World {
  /** Time stands still while calls are under way. */
  now: number
  password: string
  sessions: ModelSession[]
}

/** What a client asks for. */
export type Call =
  | { action: 'login'; password: string }
  | { action: 'refresh'; token: string }
  | { action: 'me'; by: Bearer }
  | { action: 'logout'; by: Bearer }
  | { action: 'terminate'; by: Bearer; sessionId: string }
  | { action: 'changePassword'; by: Bearer; current: string; next: string }

/** The name of the result, or the code of the error, with what matters of it. */
export interface Answer {
  type: string
  /** The outcome of a refresh, or the reason of its refusal. */
  detail?: string
  sessionId?: string
  terminatedSessions?: number
  refreshToken?: string
  accessToken?: string
}

/** How a session has ended, if it has. */
export function endOf({ now }: World, session: ModelSession): EndReason | null {
  if (session.endReason) return session.endReason
  const idleEnd = session.lastActivityAt + ms(LIFETIMES.SESSION_IDLE_TIMEOUT)
  return Math.min(session.expiresAt, idleEnd) <= now ? 'EXPIRED' : null
}

const end = (world: World, session: ModelSession, reason: EndReason) => {
  if (endOf(world, session)) return false
  session.endReason = reason
  return true
}

const sessionOf = ({ sessions }: World, id: string) => sessions.find((session) => session.id === id)

function live(world: World, id: string): ModelSession | null {
  const session = sessionOf(world, id)
  return session && !endOf(world, session) ? session : null
}

/** What the server chose by chance. The model takes it over, provided that nobody has had it before. */
const fresh = ({ sessions }: World, token: string | undefined): string =>
  token && !sessions.some(({ issued }) => issued.includes(token)) ? token : 'a new token'

function issue({ now }: World, session: ModelSession, { accessToken = '' }: Answer): string {
  const expiresAt = Math.min(now + ms(LIFETIMES.ACCESS_TOKEN_LIFETIME), session.expiresAt)
  session.bearer = { value: accessToken, sessionId: session.id, expiresAt }
  return accessToken
}

/** The session of a request, which is activity of that session. Asked once, when the request begins. */
function authenticate(world: World, by: Bearer): ModelSession | null {
  const session = sessionOf(world, by.sessionId)
  if (!session || endOf(world, session) || world.now > by.expiresAt + CLOCK_SKEW_MS) return null
  if (world.now - session.lastActivityAt > ACTIVITY_EVERY_MS) session.lastActivityAt = world.now
  return session
}

function logIn(world: World, password: string, given: Answer): Answer {
  if (password !== world.password) return { type: 'InvalidCredentialsError' }
  const id = given.sessionId ?? 'a new session'
  const leaf = fresh(world, given.refreshToken)
  const session: ModelSession = {
    ...{ id, leaf, bearer: { value: '', sessionId: id, expiresAt: 0 }, endReason: null },
    ...{ rotated: new Map(), issued: [leaf] },
    ...{ expiresAt: world.now + ms(LIFETIMES.REFRESH_TOKEN_LIFETIME), lastActivityAt: world.now },
  }
  const accessToken = issue(world, session, given)
  if (!sessionOf(world, id)) world.sessions.push(session)
  return { type: 'LoginSuccess', sessionId: id, refreshToken: leaf, accessToken }
}

/** A new leaf, in the place of the old one. */
function grow(world: World, session: ModelSession, given: Answer): string {
  session.leaf = fresh(world, given.refreshToken)
  session.issued.push(session.leaf)
  session.lastActivityAt = world.now
  return session.leaf
}

function* refresh(world: World, token: string, given: Answer): Generator<void, Answer> {
  const refused = (detail: string): Answer => ({ type: 'InvalidRefreshTokenError', detail })
  const session = world.sessions.find(({ leaf, rotated }) => leaf === token || rotated.has(token))
  if (!session) return refused('INVALID')
  const ended = endOf(world, session)
  if (ended) return refused(ended === 'EXPIRED' ? 'EXPIRED' : 'REVOKED')
  const succeed = (detail: string): Answer => ({
    ...{ type: 'RefreshSuccess', detail, sessionId: session.id, refreshToken: session.leaf },
    accessToken: issue(world, session, given),
  })
  const rotation = session.rotated.get(token)
  if (!rotation) {
    session.rotated.set(token, { at: world.now, successor: grow(world, session, given) })
    return succeed('ROTATED')
  }
  const isInGrace = world.now - rotation.at < ms(LIFETIMES.REFRESH_GRACE_PERIOD)
  if (isInGrace && rotation.successor === session.leaf) return succeed('REPLAYED')
  yield
  return refused(end(world, session, 'TOKEN_REUSED') ? 'REUSED' : 'REVOKED')
}

function terminate(world: World, sessionId: string): Answer {
  const target = sessionOf(world, sessionId)
  if (!target || !end(world, target, 'TERMINATED')) return { type: 'SessionNotFoundError' }
  return { type: 'TerminateSessionSuccess', sessionId }
}

function changePassword(
  world: World,
  session: ModelSession,
  { current, next }: { current: string; next: string },
  given: Answer,
): Answer {
  if (current !== world.password) return { type: 'InvalidCredentialsError' }
  world.password = next
  const others = world.sessions.filter((other) => other !== session)
  const terminatedSessions = others.filter((other) => end(world, other, 'PASSWORD_CHANGED')).length
  // With a longer idle timeout they would live again.
  for (const other of others) if (!other.endReason && other.expiresAt > world.now) other.endReason = 'EXPIRED'
  session.rotated.clear()
  const refreshToken = grow(world, session, given)
  const accessToken = issue(world, session, given)
  return { type: 'ChangePasswordSuccess', sessionId: session.id, terminatedSessions, refreshToken, accessToken }
}

/**
 * What a call does to the world and answers. Each `yield` is a moment at which concurrent calls may come in between; that
 * a call is not atomic there is by design, and nowhere else:
 * - Who calls is asked when a request begins, not again when it acts. So of two sessions that terminate each other both
 *   may succeed, and one that is being ended may still change the password: it stays ended, and so its new tokens are
 *   worth nothing.
 * - That a refresh token was reused is found before the session is ended for it. Whoever ends the session in between is
 *   the reason of its end.
 */
function* perform(world: World, call: Call, given: Answer): Generator<void, Answer> {
  if (call.action === 'login') return logIn(world, call.password, given)
  if (call.action === 'refresh') return yield* refresh(world, call.token, given)
  // An access token that has expired is good enough to leave by.
  const session = authenticate(world, call.by) ?? (call.action === 'logout' ? live(world, call.by.sessionId) : null)
  if (call.action === 'me') return session ? { type: 'User', sessionId: session.id } : { type: 'null' }
  yield
  if (call.action === 'logout') {
    if (session) end(world, session, 'LOGOUT')
    return { type: 'LogoutSuccess' }
  }
  if (!session) return { type: 'UNAUTHENTICATED' }
  return call.action === 'terminate' ? terminate(world, call.sessionId) : changePassword(world, session, call, given)
}

const MOMENTS = 2

/** Every order of the moments that are left of each call, as a list of the calls' numbers. */
function* ordersOf(left: readonly number[]): Generator<number[]> {
  if (left.every((moments) => moments === 0)) yield []
  for (const [index, moments] of left.entries()) {
    if (moments === 0) continue
    for (const rest of ordersOf(left.with(index, moments - 1))) yield [index, ...rest]
  }
}

export interface Prediction {
  world: World
  answers: Answer[]
}

/** What calls that are made at the same time may come to: one prediction for each order. Of one call there is just one. */
export function predict(before: World, calls: readonly Call[], given: readonly Answer[]): Prediction[] {
  const orders = calls.length === 1 ? [[0, 0]] : [...ordersOf(calls.map(() => MOMENTS))]
  return orders.map((order) => {
    const world = structuredClone(before)
    const answers: Answer[] = []
    const running = calls.map((call, index) => perform(world, call, given[index] ?? { type: '' }))
    for (const index of order) {
      const answer = running[index]?.next().value
      if (answer) answers[index] = answer
    }
    return { world, answers }
  })
}

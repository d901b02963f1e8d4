import { RequestError, ServiceUnavailableError } from './errors.js'
import type { PrismaClient } from './generated/prisma/client.js'
import type { RateLimitVerdict } from './ports.js'
import type { Client } from './services/client.js'
import type { Services } from './services/index.js'
import type { Loaders } from './services/records.js'
import type { Viewer } from './services/viewers.js'

export interface TokenCookies {
  refreshToken: string
  refreshExpiresAt: Date
  accessToken: string
  expiresAt: Date
}

/** What resolvers may do to the transport that carries the operation. */
export interface Transport {
  /** The refresh token of the cookie, if there is one. */
  readonly refreshCookie: string | null
  /** Whether the request proves that it comes from a page of ours. */
  hasCsrfProof(): boolean
  /** Throws CSRF_FAILED without that proof. */
  assertCsrf(): void
  /**
   * Throws BAD_USER_INPUT where no cookie can be set, as over a WebSocket, and CSRF_FAILED where a page that is none of
   * ours asks for it: else it could sign the browser in to an account of its own.
   */
  assertCookies(): void
  /** Whether cookies hold the access token too: no body has it then. */
  readonly hasAccessCookie: boolean
  /** The access token of its cookie, in the mode that has one. */
  readonly accessCookie: string | null
  setTokenCookies(tokens: TokenCookies): void
  clearTokenCookies(): void
  /** The device cookie, which outlives sessions, if there is one. */
  readonly deviceCookie: string | null
  /** Does nothing where no cookie can be set. */
  setDeviceCookie(cookie: { value: string; expiresAt: Date }): void
  /** The token of the CSRF cookie, which is set when it is missing or no longer good. */
  csrfToken(): string
  /** The cursor of the last event of a stream that broke off; null where the client names none. */
  readonly lastEventId: string | null
  /**
   * Names the event after which a stream begins, and what aborts when it may go on no longer. Does nothing where streams
   * have no ids.
   */
  beginStream(eventId: string, life: AbortSignal): void
  /** Tells the client how much of a limit is left. */
  reportLimit(verdict: RateLimitVerdict): void
}

/** What counts an operation as under way. */
export interface Ticket {
  /** It counts until the work has ended too, though the answer does not wait for that. */
  keepFor(work: Promise<unknown>): void
}

/** What every resolver gets, for one operation. */
export interface Context {
  services: Services
  prisma: PrismaClient
  loaders: Loaders
  client: Client
  transport: Transport
  /** Null: not signed in. */
  viewer: Viewer | null
  /** The access token that was presented, good or not. */
  accessToken: string | null
  /** True when not signed in only for want of the CSRF proof. */
  isProofMissing: boolean
  /** The session that this operation belongs to, or has just opened. */
  currentSessionId: string | null
  ticket: Ticket | null
  /** True once the answer waits for it no longer: no further field begins. */
  isGivenUp: boolean
}

/** The viewer of a field whose scopes have already asked for one. */
export function signedIn({ viewer }: Context): Viewer {
  if (!viewer) throw new RequestError('UNAUTHENTICATED', 'Sign in first.')
  return viewer
}

/** Throws in an operation that was given up: nobody hears of what it would do. */
export function assertAwaited({ isGivenUp }: Context): void {
  if (isGivenUp) throw new ServiceUnavailableError('The operation was given up before')
}

/** How a transport presents an operation. */
export interface Caller {
  client: Client
  transport: Transport
  accessToken: string | null
  /** True when an access token in a cookie was left aside, because nothing proves that a page of ours sent it. */
  isProofMissing: boolean
  /** Null where nothing counts it. */
  ticket: Ticket | null
}

/** The context of one operation. Rejects when the viewer cannot be looked up: an outage never signs anybody in. */
export async function createContext(services: Services, prisma: PrismaClient, caller: Caller): Promise<Context> {
  const { client, transport, accessToken, isProofMissing, ticket } = caller
  const loaders = services.records.forRequest()
  const viewer = accessToken ? await services.viewers.authenticate(loaders, accessToken) : null
  const currentSessionId = viewer?.session.id ?? null
  return {
    services,
    prisma,
    loaders,
    client,
    transport,
    viewer,
    accessToken,
    isProofMissing,
    currentSessionId,
    ticket,
    isGivenUp: false,
  }
}

import type { SessionKey } from '../services/session-lists.js'
import { builder } from './builder.js'
import { uuid } from './shapes.js'

const DeviceType = builder.enumType('DeviceType', { values: ['DESKTOP', 'MOBILE', 'TABLET', 'BOT', 'UNKNOWN'] })

export const SessionEndReason = builder.enumType('SessionEndReason', {
  values: {
    LOGOUT: { description: 'Signed out.' },
    TERMINATED: { description: 'Ended from another session, or because there were too many.' },
    PASSWORD_CHANGED: {},
    PASSWORD_RESET: {},
    TOKEN_REUSED: { description: 'A refresh token was presented that had been used before.' },
    EXPIRED: { description: 'By its lifetime, or after too long without activity.' },
    ADMIN: { description: 'Ended by an operator.' },
  },
})

export const Session = builder.prismaObject('Session', {
  description: 'One signed-in device.',
  fields: (t) => ({
    id: t.exposeID('id', { description: 'The `sid` of its access tokens.' }),
    deviceName: t.exposeString('deviceName', {
      description: "The name that the client gave, else one made from browser and system, such as 'Firefox on Linux'.",
    }),
    deviceType: t.expose('deviceType', { type: DeviceType }),
    browser: t.exposeString('browser', { nullable: true }),
    os: t.exposeString('os', { nullable: true }),
    userAgent: t.exposeString('userAgent', { nullable: true }),
    ipAddress: t.exposeString('ipAddress', { nullable: true }),
    city: t.exposeString('city', { nullable: true }),
    country: t.exposeString('country', { nullable: true, description: 'ISO 3166-1 alpha-2.' }),
    isVerified: t.boolean({
      description: 'True once a second factor was shown in this session.',
      resolve: (session) => session.secondFactorAt !== null,
    }),
    rememberMe: t.exposeBoolean('rememberMe'),
    createdAt: t.expose('createdAt', { type: 'DateTime' }),
    lastActivityAt: t.expose('lastActivityAt', {
      type: 'DateTime',
      description: 'Noted once a minute at most; more often where sessions end after less than ten.',
    }),
    lastRotationAt: t.expose('lastRotationAt', { type: 'DateTime', nullable: true }),
    expiresAt: t.expose('expiresAt', { type: 'DateTime', description: 'When it ends at the latest.' }),
  }),
})

export const SessionConnection = builder.connectionObject(
  { name: 'SessionConnection', type: Session },
  { name: 'SessionEdge' },
)

export const toCursor = ({ lastActivityAt, id }: { lastActivityAt: Date; id: string }): string =>
  Buffer.from(`${lastActivityAt.getTime()}:${id}`).toString('base64url')

/** Null for a text that is no cursor of a list of sessions. */
export function fromCursor(cursor: string): SessionKey | null {
  const [, activeAt, id] = /^(\d{1,14}):([0-9a-f-]{36})$/.exec(Buffer.from(cursor, 'base64url').toString()) ?? []
  if (!activeAt || !id || !uuid.safeParse(id).success) return null
  const key = { activeAt: new Date(Number(activeAt)), id }
  return toCursor({ lastActivityAt: key.activeAt, id }) === cursor ? key : null
}

export const TerminateSessionInput = builder.inputType('TerminateSessionInput', {
  fields: (t) => ({ sessionId: t.id({ required: true, validate: uuid }) }),
})

export const TerminateAllSessionsInput = builder.inputType('TerminateAllSessionsInput', {
  fields: (t) => ({ includeCurrent: t.boolean({ required: true, defaultValue: false }) }),
})

export const TerminateSessionSuccess = builder
  .objectRef<{ session: typeof Session.$inferType }>('TerminateSessionSuccess')
  .implement({ fields: (t) => ({ session: t.expose('session', { type: Session }) }) })

export const TerminateAllSessionsSuccess = builder
  .objectRef<{ terminatedSessions: number }>('TerminateAllSessionsSuccess')
  .implement({ fields: (t) => ({ terminatedSessions: t.exposeInt('terminatedSessions') }) })

import { SessionNotFoundError } from '../errors.js'
import { builder } from '../schema/builder.js'
import {
  fromCursor,
  Session,
  SessionConnection,
  SessionEndReason,
  TerminateAllSessionsInput,
  TerminateAllSessionsSuccess,
  TerminateSessionInput,
  TerminateSessionSuccess,
  toCursor,
} from '../schema/sessions.js'
import { pageArgs } from '../schema/shapes.js'
import { connect } from './connection.js'

builder.prismaObjectFields(Session, (t) => ({
  isCurrent: t.boolean({ resolve: (session, _args, { currentSessionId }) => session.id === currentSessionId }),
  isActive: t.boolean({ resolve: (session, _args, { services }) => services.sessions.endOf(session) === null }),
  endedAt: t.field({
    type: 'DateTime',
    nullable: true,
    resolve: (session, _args, { services }) => services.sessions.endOf(session)?.endedAt ?? null,
  }),
  endReason: t.field({
    type: SessionEndReason,
    nullable: true,
    resolve: (session, _args, { services }) => services.sessions.endOf(session)?.endReason ?? null,
  }),
}))

builder.queryField('sessions', (t) =>
  t.withAuth({ signedIn: true }).field({
    description: "The signed-in user's sessions, most recently active first. Pages have 20, at most 100.",
    type: SessionConnection,
    args: { ...t.arg.connectionArgs(), includeEnded: t.arg.boolean({ required: true, defaultValue: false }) },
    validate: pageArgs,
    resolve: (_root, { includeEnded, ...args }, { services, viewer }) =>
      connect(args, {
        toCursor,
        fromCursor,
        load: (page) => services.sessions.list(viewer.user.id, includeEnded, page),
      }),
  }),
)

builder.mutationField('terminateSession', (t) =>
  t.withAuth({ signedIn: true }).field({
    description: 'Ends one of your sessions. Its tokens are refused from the next request on.',
    type: TerminateSessionSuccess,
    args: { input: t.arg({ type: TerminateSessionInput, required: true }) },
    errors: { types: [SessionNotFoundError] },
    resolve: async (_root, { input }, { services, client, viewer }) => ({
      session: await services.sessions.terminate(client, viewer.user.id, input.sessionId),
    }),
  }),
)

builder.mutationField('terminateAllSessions', (t) =>
  t.withAuth({ signedIn: true }).field({
    description: 'Ends every session but the current one; the current one too with includeCurrent.',
    type: TerminateAllSessionsSuccess,
    args: { input: t.arg({ type: TerminateAllSessionsInput }) },
    errors: { types: [] },
    resolve: async (_root, { input }, { services, client, viewer }) => {
      const except = input?.includeCurrent ? undefined : viewer.session.id
      return { terminatedSessions: await services.sessions.terminateAll(client, viewer.user.id, except) }
    },
  }),
)

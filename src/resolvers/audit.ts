import { signedIn } from '../context.js'
import { AuditEvent, AuditEventConnection, AuditLogFilter, AuditScope, SecurityOverview } from '../schema/audit.js'
import { builder } from '../schema/builder.js'
import { count, pageArgs } from '../schema/shapes.js'
import { AccountSummary } from '../schema/users.js'
import { readInTurn } from './audit-turns.js'
import { connect } from './connection.js'

builder.prismaObjectFields(AuditEvent, (t) => ({
  user: t.field({
    description: 'The account that it concerns; null when there is none, or no longer one.',
    type: AccountSummary,
    nullable: true,
    resolve: ({ userId }, _args, { loaders }) => (userId ? loaders.user.load(userId) : null),
  }),
}))

builder.queryField('auditLog', (t) =>
  t.field({
    description:
      'Security events in commit order, newest first. Scope EVERYONE needs the permission audit:read. Pages have 20, at most 100.',
    type: AuditEventConnection,
    args: {
      scope: t.arg({ type: AuditScope, required: true, defaultValue: 'MINE' }),
      filter: t.arg({ type: AuditLogFilter }),
      ...t.arg.connectionArgs(),
    },
    validate: pageArgs,
    authScopes: (_root, { scope }) =>
      scope === 'EVERYONE' ? { signedIn: true, permission: 'audit:read' } : { signedIn: true },
    resolve: (_root, { scope, filter, ...args }, context) =>
      readInTurn(context, async () => {
        const { services } = context
        // Whoever asks sees everything that was committed before.
        await services.audit.seal()
        const mine = scope === 'MINE' ? { ownerId: signedIn(context).user.id } : {}
        return connect(args, {
          ...services.auditCursors,
          // Newest first: what comes after a cursor has a lower position.
          load: ({ after, before, limit, isReversed }) =>
            services.audit.page(
              { ...filter, ...mine },
              { before: after, after: before },
              limit,
              isReversed ? 'asc' : 'desc',
            ),
        })
      }),
  }),
)

builder.queryField('securityOverview', (t) =>
  t.field({
    description: 'Aggregates of the last `hours`, 1 to 2160, for the security dashboard. Needs audit:read.',
    type: SecurityOverview,
    args: { hours: t.arg.int({ required: true, defaultValue: 24, validate: count(24 * 90) }) },
    authScopes: { signedIn: true, permission: 'audit:read' },
    resolve: (_root, { hours }, context) =>
      readInTurn(context, async () => {
        await context.services.audit.seal()
        return context.services.overview(hours)
      }),
  }),
)

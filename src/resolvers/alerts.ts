import { signedIn } from '../context.js'
import { BadInputError } from '../errors.js'
import { AuditEventEdge, AuditLogFilter, fromCursor, RiskLevelEnum, toEdge } from '../schema/audit.js'
import { builder } from '../schema/builder.js'

/** The position to go on from; null without one. Throws BAD_USER_INPUT for a cursor that is not ours. */
function startOf(after: string | null | undefined): bigint | null {
  if (after == null) return null
  const position = fromCursor(after)
  if (position === null) throw new BadInputError(['after'], 'Is not a cursor of the audit log.')
  return position
}

builder.subscriptionField('securityAlerts', (t) =>
  t.field({
    description:
      'What the signed-in user should know about the account, live. With `after`, everything since that cursor first, then live: no gap, no duplicate.',
    type: AuditEventEdge,
    args: {
      after: t.arg.string(),
      minRiskLevel: t.arg({ type: RiskLevelEnum, required: true, defaultValue: 'MEDIUM' }),
    },
    authScopes: { signedIn: true },
    subscribe: (_root, { after, minRiskLevel }, context) => {
      const viewer = signedIn(context)
      const filter = { ownerId: viewer.user.id, minRiskLevel }
      return context.services.alerts.follow(viewer, filter, startOf(after))
    },
    resolve: toEdge,
  }),
)

builder.subscriptionField('securityEvents', (t) =>
  t.field({
    description: 'The whole stream, for dashboards. Needs audit:read. Resumes like securityAlerts.',
    type: AuditEventEdge,
    args: { after: t.arg.string(), filter: t.arg({ type: AuditLogFilter }) },
    authScopes: { signedIn: true, permission: 'audit:read' },
    subscribe: (_root, { after, filter }, context) =>
      context.services.alerts.follow(signedIn(context), filter ?? {}, startOf(after)),
    resolve: toEdge,
  }),
)

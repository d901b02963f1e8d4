import { mapAsyncIterator } from '@graphql-tools/utils'
import { type Context, signedIn } from '../context.js'
import { BadInputError } from '../errors.js'
import { AuditEventEdge, AuditLogFilter, RiskLevelEnum } from '../schema/audit.js'
import { builder } from '../schema/builder.js'
import type { AuditFilter } from '../services/audit-pages.js'
import type { Services } from '../services/index.js'

/**
 * The position of a cursor, or else that of the newest event; and that of the newest event, `head`. Throws BAD_USER_INPUT for a
 * cursor that is not of this log, or so old that events after it were removed: there would be a gap.
 */
async function placeOf(
  after: string | null | undefined,
  { audit, auditCursors }: Services,
): Promise<{ position: bigint; head: bigint }> {
  await audit.seal()
  const { removedUpTo, head } = await audit.bounds()
  if (after == null) return { position: head, head }
  const position = auditCursors.fromCursor(after)
  if (position === null || position > head) throw new BadInputError(['after'], 'Is not a cursor of the audit log.')
  if (position < removedUpTo) throw new BadInputError(['after'], 'Is too old: events after it were removed.')
  return { position, head }
}

/** The events as edges. A stream that broke off goes on where it did, whatever its operation said when it began. */
async function follow(context: Context, filter: AuditFilter, after: string | null | undefined) {
  const { services, transport } = context
  const { position, head } = await placeOf(transport.lastEventId ?? after, services)
  const { toCursor, toStart } = services.auditCursors
  const alerts = services.alerts.follow(signedIn(context), filter, position)
  transport.beginStream(toStart({ position }), alerts.life)
  context.loaders = services.records.forRequest()
  return mapAsyncIterator(alerts, (node) => {
    // With accounts as they are when it happens, not as they were when the stream first told of them.
    if (node.position > head) context.loaders = services.records.forRequest()
    return { cursor: toCursor(node), node }
  })
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
    subscribe: (_root, { after, minRiskLevel }, context) =>
      follow(context, { ownerId: signedIn(context).user.id, minRiskLevel }, after),
    resolve: (edge) => edge,
  }),
)

builder.subscriptionField('securityEvents', (t) =>
  t.field({
    description: 'The whole stream, for dashboards. Needs audit:read. Resumes like securityAlerts.',
    type: AuditEventEdge,
    args: { after: t.arg.string(), filter: t.arg({ type: AuditLogFilter }) },
    authScopes: { signedIn: true, permission: 'audit:read' },
    subscribe: (_root, { after, filter }, context) => follow(context, filter ?? {}, after),
    resolve: (edge) => edge,
  }),
)

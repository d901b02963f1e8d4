import { assertAwaited } from '../context.js'
import { BadInputError } from '../errors.js'
import { AuditChain } from '../schema/audit-chain.js'
import { builder } from '../schema/builder.js'
import { count } from '../schema/shapes.js'
import { readInTurn } from './audit-turns.js'

const MAX_EVENTS = 50_000

builder.queryField('auditChain', (t) =>
  t.field({
    description:
      'Proves that no event of the audit log was changed or removed since it was sealed, or names the first that was. ' +
      'Needs audit:read. Verifies `first` events, at most 50,000, from the oldest on, or after a cursor of the log.',
    type: AuditChain,
    args: {
      first: t.arg.int({ required: true, defaultValue: 10_000, validate: count(MAX_EVENTS) }),
      after: t.arg.string(),
    },
    authScopes: { signedIn: true, permission: 'audit:read' },
    resolve: (_root, { first, after }, context) =>
      readInTurn(context, async () => {
        const { services } = context
        await services.audit.seal()
        const position = after == null ? 0n : services.auditCursors.fromCursor(after)
        if (position === null || position > (await services.audit.bounds()).head)
          throw new BadInputError(['after'], 'Is not a cursor of the audit log.')
        const onProgress = () => assertAwaited(context)
        return services.verifyAudit({ from: position + 1n, count: first, onProgress })
      }),
  }),
)

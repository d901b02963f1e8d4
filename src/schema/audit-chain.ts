import { AUDIT_BREAKS, type AuditBreakReason } from '../audit-events.js'
import type { Break } from '../services/audit-chain.js'
import type { Verification } from '../services/audit-verification.js'
import { builder } from './builder.js'

const AuditBreakReasonEnum = builder.enumType('AuditBreakReason', {
  values: Object.fromEntries(
    Object.entries(AUDIT_BREAKS).map(([reason, description]) => [reason, { description }]),
  ) as Record<AuditBreakReason, { description: string }>,
})

const AuditBreak = builder.objectRef<Break>('AuditBreak').implement({
  description: 'Where the audit log was changed.',
  fields: (t) => ({
    position: t.string({
      description: 'The first broken position, decimal.',
      resolve: ({ position }) => `${position}`,
    }),
    reason: t.expose('reason', { type: AuditBreakReasonEnum }),
  }),
})

export const AuditChain = builder.objectRef<Verification>('AuditChain').implement({
  description: 'What the verification of a part of the audit log has found.',
  fields: (t) => ({
    isIntact: t.boolean({ resolve: ({ broken }) => broken === null }),
    firstBreak: t.field({ type: AuditBreak, nullable: true, resolve: ({ broken }) => broken }),
    events: t.exposeInt('events', { description: 'How many events hold.' }),
    checkpoints: t.exposeInt('checkpoints', { description: 'How many signed checkpoints hold.' }),
    signedUpTo: t.string({
      nullable: true,
      description: 'The last position, decimal, that a signature stands for. What comes later is only chained.',
      resolve: ({ signedUpTo }) => (signedUpTo > 0n ? `${signedUpTo}` : null),
    }),
    endCursor: t.string({
      description: 'Where to go on, as `after`.',
      resolve: ({ to }, _args, { services }) => services.auditCursors.toCursor({ position: to }),
    }),
    hasMore: t.boolean({
      description: 'Whether there are events after endCursor.',
      resolve: ({ to, end }) => to < end,
    }),
  }),
})

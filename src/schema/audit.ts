import { z } from 'zod'
import { AUDIT_EVENTS, type AuditEventType, outcomeOf, RISK_LEVELS, type RiskLevel } from '../audit-events.js'
import { sentenceOf } from '../detection-rules.js'
import type { SecurityOverview as Overview } from '../services/overview.js'
import { builder } from './builder.js'
import { ipAddress, optional, shape, uuid } from './shapes.js'

const AuditEventTypeEnum = builder.enumType('AuditEventType', {
  values: Object.fromEntries(
    Object.entries(AUDIT_EVENTS).map(([type, { sentence }]) => [type, { description: sentence }]),
  ) as Record<AuditEventType, { description: string }>,
})

export const RiskLevelEnum = builder.enumType('RiskLevel', {
  description: 'From LOW over MEDIUM and HIGH to CRITICAL.',
  values: RISK_LEVELS as readonly [RiskLevel, ...RiskLevel[]],
})

export const AuditScope = builder.enumType('AuditScope', {
  values: {
    MINE: { description: 'What concerns the signed-in user.' },
    EVERYONE: { description: 'The whole log. Needs the permission audit:read.' },
  },
})

export const AuditEvent = builder.prismaObject('AuditEvent', {
  description: 'One security event: an outcome, good or bad.',
  fields: (t) => ({
    id: t.exposeID('id'),
    type: t.expose('type', { type: AuditEventTypeEnum }),
    occurredAt: t.expose('occurredAt', { type: 'DateTime' }),
    success: t.exposeBoolean('success'),
    riskLevel: t.expose('riskLevel', { type: RiskLevelEnum }),
    description: t.string({
      description: 'One sentence for people.',
      resolve: ({ type, success, metadata }) =>
        sentenceOf((metadata as { rule?: unknown }).rule) ?? outcomeOf(type, success).sentence,
    }),
    userId: t.exposeID('userId', {
      nullable: true,
      description: 'Null where no account is concerned, e.g. a login with an unknown e-mail.',
    }),
    sessionId: t.exposeID('sessionId', { nullable: true }),
    ipAddress: t.exposeString('ipAddress', { nullable: true }),
    userAgent: t.exposeString('userAgent', { nullable: true }),
    city: t.exposeString('city', { nullable: true }),
    country: t.exposeString('country', { nullable: true, description: 'ISO 3166-1 alpha-2.' }),
    correlationId: t.exposeString('correlationId', {
      nullable: true,
      description: 'The x-request-id of the request that caused it.',
    }),
    metadata: t.field({
      type: 'JSONObject',
      description: 'Particulars by type. Never a secret.',
      resolve: ({ metadata }) => metadata as Record<string, unknown>,
    }),
  }),
})

export const AuditEventEdge = builder.edgeObject({ name: 'AuditEventEdge', type: AuditEvent })
export const AuditEventConnection = builder.connectionObject(
  { name: 'AuditEventConnection', type: AuditEvent },
  AuditEventEdge,
)

export const AuditLogFilter = builder.inputType('AuditLogFilter', {
  description: 'All conditions must hold; what is left out or null is no condition.',
  validate: shape({
    types: optional(z.array(z.unknown()).max(100, 'Must have at most 100 items.')),
    userId: optional(uuid),
    sessionId: optional(uuid),
    ipAddress: optional(ipAddress),
  }),
  fields: (t) => ({
    types: t.field({ type: [AuditEventTypeEnum] }),
    minRiskLevel: t.field({ type: RiskLevelEnum }),
    success: t.boolean(),
    from: t.field({ type: 'DateTime', description: 'Inclusive.' }),
    to: t.field({ type: 'DateTime', description: 'Exclusive.' }),
    userId: t.id(),
    sessionId: t.id(),
    ipAddress: t.string(),
  }),
})

const SecurityBucket = builder.objectRef<Overview['buckets'][number]>('SecurityBucket').implement({
  fields: (t) => ({
    start: t.expose('start', { type: 'DateTime' }),
    loginsSucceeded: t.exposeInt('loginsSucceeded'),
    loginsFailed: t.exposeInt('loginsFailed'),
    lockouts: t.exposeInt('lockouts'),
    alerts: t.exposeInt('alerts', { description: 'Events of risk HIGH or CRITICAL.' }),
  }),
})

const SuspiciousIp = builder.objectRef<Overview['suspiciousIps'][number]>('SuspiciousIp').implement({
  fields: (t) => ({
    ipAddress: t.exposeString('ipAddress'),
    failedLogins: t.exposeInt('failedLogins'),
    distinctAccounts: t.exposeInt('distinctAccounts'),
    lastSeenAt: t.expose('lastSeenAt', { type: 'DateTime' }),
  }),
})

export const SecurityOverview = builder.objectRef<Overview>('SecurityOverview').implement({
  description: 'Aggregates of a window that ends now.',
  fields: (t) => ({
    from: t.expose('from', { type: 'DateTime' }),
    to: t.expose('to', { type: 'DateTime' }),
    bucketMinutes: t.exposeInt('bucketMinutes', { description: 'How long each bucket is.' }),
    buckets: t.expose('buckets', { type: [SecurityBucket] }),
    activeSessions: t.exposeInt('activeSessions'),
    lockedAccounts: t.exposeInt('lockedAccounts'),
    suspiciousIps: t.expose('suspiciousIps', {
      type: [SuspiciousIp],
      description: 'Addresses with at least 10 failed logins in the window, worst first; at most 100.',
    }),
  }),
})

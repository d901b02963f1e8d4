import type { TestApp } from './app.js'
import { openDatabase } from './database.js'
import { eventually } from './eventually.js'
import {
  AuditLogDocument,
  type AuditLogFilter,
  type AuditLogQueryVariables,
  type EventFieldsFragment,
} from './generated/graphql.js'

const WAITING = `
  SELECT (SELECT count(*) FROM jobs.job WHERE name = 'mail-request' AND state < 'completed')
       + (SELECT count(*) FROM audit_inbox) + (
    SELECT count(*) FROM audit_events
    WHERE position > (SELECT position FROM audit_detector)
      AND type IN ('LOGIN_SUCCEEDED', 'LOGIN_FAILED', 'PASSWORD_RESET_REQUESTED')) AS count`

export interface Alarm {
  rule: unknown
  event: EventFieldsFragment
}

/** Resolves when everything that has happened so far was judged. */
export async function untilJudged({ installation, operator }: TestApp): Promise<void> {
  const { query } = await openDatabase(installation)
  await eventually(async () => {
    operator.wake('mail-request')
    return Number((await query(WAITING)).rows[0].count)
  }).toBe(0)
}

/** What was raised so far, oldest first, once everything that has happened was judged. */
export async function alarmsIn(app: TestApp, filter: AuditLogFilter): Promise<Alarm[]> {
  // An auditor who signed in afterwards would be judged too.
  const auditor = await app.auditor()
  await untilJudged(app)
  const all: AuditLogQueryVariables = {
    scope: 'EVERYONE',
    filter: { ...filter, types: ['SUSPICIOUS_LOGIN'] },
    first: 100,
  }
  const { edges } = await auditor.call(AuditLogDocument, all)
  return edges.map(({ node }) => ({ rule: (node.metadata as { rule: unknown }).rule, event: node })).reverse()
}

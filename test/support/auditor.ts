import { vi } from 'vitest'
import type { TestClock } from './clock.js'
import {
  type AuditEventType,
  AuditLogDocument,
  type AuditLogFilter,
  type EventFieldsFragment,
} from './generated/graphql.js'
import type { User } from './user.js'

export interface Auditor {
  /** Somebody who may read the whole log. */
  auditor(): Promise<User>
  /** The newest hundred events of the whole log, newest first. */
  allEvents(): Promise<EventFieldsFragment[]>
  /** The events that concern an account, newest first: as the API tells them. */
  eventsOf(user: { id: string }, filter?: AuditLogFilter): Promise<EventFieldsFragment[]>
  /** The types of the events that a request has caused, oldest first. */
  eventsFrom(answer: { requestId: string }): Promise<AuditEventType[]>
}

interface Deps {
  newUser: () => Promise<User>
  grant: (identifier: string, name: string) => Promise<unknown>
  clock: TestClock
  /** Nothing that was asked for waits to be done. */
  isIdle: () => Promise<boolean>
}

/** Reads the audit log through the API, as an account of its own. */
export function createAuditor({ newUser, grant, clock, isIdle }: Deps): Auditor {
  let current: Promise<User> | undefined

  async function enrol(): Promise<User> {
    const user = await newUser()
    await grant(user.email, 'audit:read')
    return user
  }

  async function auditor(): Promise<User> {
    current ??= enrol()
    const user = await current
    if (new Date(user.authentication.expiresAt) > clock.now()) return user
    current = user.logIn()
    return current
  }

  async function read(filter: AuditLogFilter): Promise<EventFieldsFragment[]> {
    const reader = await auditor()
    await vi.waitUntil(isIdle, { timeout: 90_000, interval: 10 })
    const { edges } = await reader.call(AuditLogDocument, { scope: 'EVERYONE', filter, first: 100 })
    return edges.map(({ node }) => node)
  }

  return {
    auditor,
    allEvents: () => read({}),
    eventsOf: ({ id }, filter = {}) => read({ ...filter, userId: id }),
    eventsFrom: async ({ requestId }) =>
      (await read({}))
        .filter(({ correlationId }) => correlationId === requestId)
        .map(({ type }) => type)
        .reverse(),
  }
}

import { expect, onTestFinished, test } from 'vitest'
import type { AuditEvent } from '../../src/generated/prisma/client.js'
import { createMemoryBus } from '../../src/infra/memory.js'
import type { Audit } from '../../src/services/audit.js'
import { createFeed } from '../../src/services/feed.js'
import { createTestLog } from '../support/log.js'

test('A subscription that begins further than the log could be followed here goes back to nothing before', async () => {
  const events: AuditEvent[] = []
  const write = (position: bigint) => void events.push({ position } as AuditEvent)
  const between = (after: bigint, before: bigint) =>
    events.filter(({ position }) => position > after && position < before)
  let isAway = false
  const audit = {
    seal: async () => {
      if (isAway) throw new Error('no database')
    },
    bounds: async () => ({ removedUpTo: 0n, head: events.at(-1)?.position ?? 0n }),
    next: async (after: bigint) => between(after, 1_000n),
    page: async (_: object, { after, before }: { after: bigint; before: bigint }) => between(after, before),
  }
  write(1n)
  const log = createTestLog()
  const feed = createFeed({ audit: audit as unknown as Audit, bus: createMemoryBus(log), log })
  await feed.start()
  onTestFinished(feed.stop)

  // Another process has sealed it, and this one has not read it yet.
  write(2n)
  isAway = true
  const stream = feed.events({}, 2n, new AbortController().signal)
  const first = stream.next()
  await new Promise(setImmediate)
  isAway = false
  write(3n)
  expect((await first).value).toMatchObject({ position: 3n })
  await stream.return?.()
})

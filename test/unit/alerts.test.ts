import { expect, test } from 'vitest'
import { createAlerts } from '../../src/services/alerts.js'
import type { Feed } from '../../src/services/feed.js'
import type { Records, UserRecord } from '../../src/services/records.js'
import type { Viewer } from '../../src/services/viewers.js'

const admin = { id: 'eve', roleName: 'admin', permissions: ['audit:read'] } as UserRecord

/** Streams of a process where the database says that of the viewer, who was an administrator when last looked at. */
function open(freshUser: () => Promise<UserRecord | null>) {
  const watch = () => () => {}
  const events = async function* () {}
  const alerts = createAlerts({
    feed: { onEvent: watch, events } as unknown as Feed,
    records: { freshUser } as unknown as Records,
    lives: { watch },
  })
  const viewer = { user: admin, session: { id: 's' }, tokenExpiresAt: new Date(Date.now() + 60_000), tokenKid: 'k' }
  return { ...alerts, follow: () => alerts.follow(viewer as Viewer, {}, 0n) }
}

/** When the look at the database, which nothing waits for, has been made. */
const turn = () => new Promise(setImmediate)

test.each<[string, () => Promise<UserRecord | null>, boolean]>([
  ['still has the role', async () => ({ ...admin }), false],
  [
    'has lost the role since the look at the token',
    async () => ({ ...admin, roleName: 'user', permissions: [] }),
    true,
  ],
  ['has lost a permission', async () => ({ ...admin, permissions: [] }), true],
  ['is gone', async () => null, true],
  ['cannot be looked up', () => Promise.reject(new Error('no database')), true],
])('A stream of somebody who %s: ended %s', async (_, freshUser, isEnded) => {
  const stream = open(freshUser).follow()
  await turn()
  expect(stream.life.aborted).toBe(isEnded)
  await stream.return?.()
})

test('What begins while the server goes away has ended at once', async () => {
  const { follow, close } = open(async () => ({ ...admin }))
  const before = follow()
  expect(before.life.aborted).toBe(false)
  close()
  for (const { life } of [before, follow()]) expect(life.aborted).toBe(true)
})

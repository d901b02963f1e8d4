import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { createLives } from '../../src/services/lives.js'
import type { SessionRecord } from '../../src/services/records.js'
import type { Viewer } from '../../src/services/viewers.js'

const SECOND = 1000
const DAY = 86_400 * SECOND

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

/** What is heard of a viewer whose session is due in a second, and whose token expires in ten. */
function watch(freshSession: () => Promise<SessionRecord | null>, { dueMs = SECOND, tokenMs = 10 * SECOND } = {}) {
  const begun = Date.now()
  const watches = new Map<string, (isKnown: boolean) => void>()
  const on = (id: string, listener: (isKnown: boolean) => void) => {
    watches.set(id, listener)
    return () => watches.delete(id)
  }
  const lives = createLives({
    clock: { now: () => new Date() },
    records: { freshSession } as never,
    // Each look finds that there was activity just now.
    sessions: { dueAt: () => new Date(Date.now() + dueMs), endOf: () => null } as never,
    sessionEnds: { watch: on } as never,
    signingKeys: { watch: on } as never,
  })
  const viewer = { session: { id: 's' }, tokenExpiresAt: new Date(begun + tokenMs), tokenKid: 'k' } as Viewer
  const heard: string[] = []
  const release = lives.watch(viewer, (end) => heard.push(`${end} after ${Date.now() - begun} ms`))
  const kept = () => [...watches.keys(), vi.getTimerCount()]
  return { heard, release, kept, tell: (id: string, isKnown: boolean) => watches.get(id)?.(isKnown) }
}

const session = {} as SessionRecord

test('What is open goes on with a session that was active meanwhile, until its token expires', async () => {
  const { heard } = watch(async () => session)
  await vi.advanceTimersByTimeAsync(30 * SECOND)
  expect(heard).toEqual(['TOKEN after 10000 ms'])
})

test('A session that nobody can look up is looked up again, and has not ended for that', async () => {
  const answers = [() => Promise.reject(new Error('no database')), async () => session, async () => null]
  const { heard } = watch(() => (answers.shift() ?? (async () => null))())
  await vi.advanceTimersByTimeAsync(30 * SECOND)
  expect(heard).toEqual(['SESSION after 3000 ms'])
})

test('For want of a database nothing outlives its token', async () => {
  const { heard } = watch(() => Promise.reject(new Error('no database')))
  await vi.advanceTimersByTimeAsync(30 * SECOND)
  expect(heard).toEqual(['TOKEN after 10000 ms'])
})

test('Nothing is heard any more of what was released, and nothing kept', async () => {
  const { heard, release, kept } = watch(async () => null)
  expect(kept()).toEqual(['s', 'k', 1])
  release()
  expect(kept()).toEqual([0])
  await vi.advanceTimersByTimeAsync(30 * SECOND)
  expect(heard).toEqual([])
})

test('Nor of what is released while its session is looked up, which is not looked up again', async () => {
  for (const found of [session, null]) {
    const answers: ((found: SessionRecord | null) => void)[] = []
    const { heard, release } = watch(() => new Promise((resolve) => void answers.push(resolve)))
    await vi.advanceTimersByTimeAsync(SECOND)
    release()
    answers[0]?.(found)
    await vi.advanceTimersByTimeAsync(30 * SECOND)
    expect({ looks: answers.length, heard }).toEqual({ looks: 1, heard: [] })
  }
})

test('What could live for longer than a timer waits goes on for as long as one does, and does not end at once', async () => {
  const { heard } = watch(async () => session, { dueMs: 60 * DAY, tokenMs: 30 * DAY })
  await vi.advanceTimersByTimeAsync(24 * DAY)
  expect(heard).toEqual([])
  await vi.advanceTimersByTimeAsync(DAY)
  expect(heard).toEqual(['TOKEN after 2147483647 ms'])
})

test.each([
  ['a session that has ended', 's', true, 'SESSION'],
  ['a session that may have ended, of which nobody knows', 's', false, 'TOKEN'],
  ['a key that was withdrawn', 'k', true, 'TOKEN'],
])('Of %s is told at once, and once', (_, id, isKnown, end) => {
  const { heard, kept, tell } = watch(async () => session)
  tell(id, isKnown)
  tell(id, isKnown)
  expect(heard).toEqual([`${end} after 0 ms`])
  expect(kept()).toEqual([0])
})

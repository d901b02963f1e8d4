import { createHash, randomUUID } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import ms from 'ms'
import pg from 'pg'
import { afterAll, expect, test } from 'vitest'
import { NEXT_PASSWORD, PASSWORD, startApp } from '../support/app.js'
import { stopClock } from '../support/clock.js'
import { eventually } from '../support/eventually.js'
import { makeCall } from '../support/session-calls.js'
import {
  type Answer,
  type Call,
  endOf,
  LIFETIMES,
  type ModelSession,
  predict,
  type World,
} from '../support/session-model.js'

const RUNS = 50
const MIN_GROUPS = 6
/** So few that no session is so long over that the server may have removed it. */
const MAX_GROUPS = 11
/** Until then histories begin, and one that fails is made shorter. */
const LIMIT_MS = 50_000

const SETTINGS = {
  ...LIFETIMES,
  PASSWORD_HISTORY: '0',
  LOCKOUT_THRESHOLD: '1000',
  KEY_ROTATION_INTERVAL: 'off',
  JWT_ISSUER: 'https://auth.example',
  JWT_AUDIENCE: 'https://auth.example',
}
const app = await startApp({ env: SETTINGS })
const beside = await startApp({ env: SETTINGS, beside: app })
const { clock } = app
stopClock(clock)
const [database, holder] = [new pg.Client(app.installation.databaseUrl), new pg.Client(app.installation.databaseUrl)]
await Promise.all([database.connect(), holder.connect()])
afterAll(() => Promise.all([database.end(), holder.end()]))
const ada = await app.newUser()

/** To just before the end of the grace period, of an access token, of an idle session; and to that end. */
const duration = fc.constantFrom('39s', '40s', '39s', '40s', '39s', '905s', '906s', '2d', '259199s', '3d')
const ACTIONS = { login: 3, refresh: 6, replay: 8, logout: 1, terminate: 2, changePassword: 3 }
const weighed = Object.entries(ACTIONS).map(([action, weight]) => ({
  weight,
  arbitrary: fc.constant(action as keyof typeof ACTIONS),
}))
const step = fc.record({
  action: fc.oneof(...weighed),
  /** How many sessions were opened after the one that acts, and after the one that it is about. */
  by: fc.constantFrom(0, 0, 0, 1, 1, 2),
  to: fc.nat(2),
  /** How many tokens the session had after the one that is replayed. */
  back: fc.constantFrom(1, 1, 2, 2, 3),
})
const together = fc.record({
  steps: fc.array(step, { minLength: 1, maxLength: 3 }),
  /** Whether they wait for each other at the rows of the sessions: what they write then comes as close as can be. */
  isHeld: fc.boolean(),
})
/** Time passes, or up to three calls are made at the same time. */
const group = fc.oneof({ weight: 1, arbitrary: duration }, { weight: 3, arbitrary: together })
const history = fc.array(group, { minLength: MIN_GROUPS, maxLength: MAX_GROUPS })
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never
type History = typeof history extends fc.Arbitrary<infer T> ? T : never

const act = (action: Step['action'], by: Step['by'] = 0, to = 0, back: Step['back'] = 1): Step => ({
  action,
  by,
  to,
  back,
})
const held = (...steps: Step[]) => ({ steps, isHeld: true })
const alone = (...what: Parameters<typeof act>) => ({ steps: [act(...what)], isHeld: false })
/** Histories that are run every time: what chance brings seldom. */
const EXAMPLES: History[] = [
  [held(act('refresh'), act('refresh'), act('refresh')), alone('refresh'), alone('replay', 0, 0, 2)],
  [
    alone('login'),
    held(act('changePassword'), act('login'), act('refresh', 1)),
    held(act('refresh'), act('changePassword', 1)),
  ],
  [alone('login'), held(act('terminate', 0, 1), act('terminate', 1, 0)), alone('login'), '3d', alone('login')],
  [alone('login'), '3d', alone('login'), alone('terminate', 0, 1), alone('changePassword')],
]

const pick = <T>(items: readonly T[], fromEnd: number): T => items.at(-1 - (fromEnd % items.length)) as T

function toCall({ sessions, password }: World, { action, by, to, back }: Step): Call {
  const { bearer, leaf, issued } = pick(sessions, by)
  if (action === 'login') return { action, password }
  if (action === 'refresh') return { action, token: leaf }
  if (action === 'replay') return { action: 'refresh', token: pick(issued, back) }
  if (action === 'terminate') return { action, by: bearer, sessionId: pick(sessions, to).id }
  if (action !== 'changePassword') return { action, by: bearer }
  return { action, by: bearer, current: password, next: password === PASSWORD ? NEXT_PASSWORD : PASSWORD }
}

/** An account that is like another one, with an id and an address of its own. */
const COPY_USER = `
  INSERT INTO users SELECT (jsonb_populate_record(u, $2::jsonb)).* FROM users u WHERE u.id = $1`
const SESSIONS = `
  SELECT s.id, s.end_reason AS "endReason", s.ended_at AS "endedAt", s.expires_at AS "expiresAt",
         s.last_activity_at AS "lastActivityAt",
         (SELECT jsonb_object_agg(encode(t.hash, 'hex'), t.state) FROM refresh_tokens t WHERE t.session_id = s.id) AS tokens
  FROM sessions s WHERE s.user_id = $1 ORDER BY s.id`

const HOLD = 'SELECT FROM sessions WHERE user_id = $1 FOR NO KEY UPDATE'
const WAITING = `
  SELECT count(*)::int AS count FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`
/** How often it is looked whether a call waits: behind another one of its own process it does so unseen. */
const LOOKS = 100

interface Row {
  id: string
  endReason: string | null
  endedAt: Date | null
  expiresAt: Date
  lastActivityAt: Date
  /** Their states by their hashes. */
  tokens: Record<string, string>
}

const hashOf = (token: string) => createHash('sha256').update(token).digest('hex')

/** What the database should have of the sessions, but for their activity. */
function toRows({ sessions }: World) {
  const rows = sessions.map(({ id, endReason, expiresAt, leaf, rotated }) => {
    const used = [...rotated.keys()].map((token) => [hashOf(token), 'ROTATED'])
    return { id, endReason, expiresAt, tokens: Object.fromEntries([...used, [hashOf(leaf), 'LIVE']]) }
  })
  return rows.sort((one, other) => (one.id < other.id ? -1 : 1))
}
const withoutActivity = (rows: Row[]) =>
  rows.map(({ id, endReason, expiresAt, tokens }) => ({ id, endReason, expiresAt: expiresAt.getTime(), tokens }))
const activityOf = (sessions: { id: string; lastActivityAt: Date | number }[]) =>
  Object.fromEntries(sessions.map(({ id, lastActivityAt }) => [id, new Date(lastActivityAt)]))

/** Runs a history of an account of its own, and knows beforehand what comes of it. */
async function run(groups: History): Promise<void> {
  const userId = randomUUID()
  const email = `${userId}@example.com`
  await database.query(COPY_USER, [ada.id, { id: userId, email, email_normalized: email }])
  let world: World = { now: clock.now().getTime(), password: PASSWORD, sessions: [] }
  const ended = new Set<string>()

  /** What there is. By the database alone: no session has two live tokens, and one that has ended never lives again. */
  async function read(): Promise<Row[]> {
    const { rows } = await database.query<Row>(SESSIONS, [userId])
    const idleSince = clock.now().getTime() - ms(LIFETIMES.SESSION_IDLE_TIMEOUT)
    for (const { id, endedAt, expiresAt, lastActivityAt, tokens } of rows) {
      expect(Object.values(tokens).filter((state) => state === 'LIVE').length).toBeLessThanOrEqual(1)
      const isLive = !endedAt && expiresAt > clock.now() && lastActivityAt.getTime() > idleSince
      if (isLive) expect(ended).not.toContain(id)
      else ended.add(id)
    }
    return rows
  }

  const answer = (call: Call, index: number) => makeCall((index % 2 === 0 ? app : beside).anonymous, email, call)

  /** Begins each call when those before have been answered, or wait. Then lets them go on. */
  async function answerHeld(calls: Call[]): Promise<Answer[]> {
    const begun: Promise<Answer>[] = []
    let answered = 0
    const count = () => {
      answered += 1
    }
    await holder.query('BEGIN')
    await holder.query(HOLD, [userId])
    for (const [index, call] of calls.entries()) {
      begun.push(answer(call, index).finally(count))
      for (let looks = 0; looks < LOOKS; looks += 1) {
        if (answered + (await database.query(WAITING)).rows[0].count >= begun.length) break
      }
    }
    await holder.query('COMMIT')
    return Promise.all(begun)
  }

  /** Makes calls at the same time. Where nothing explains what comes of them, it tells the difference to one order. */
  async function make(calls: Call[], isHeld = false): Promise<void> {
    const answers = await (isHeld ? answerHeld(calls) : Promise.all(calls.map(answer)))
    const predictions = predict(world, calls, answers)
    const explaining = predictions.filter((each) => isDeepStrictEqual(each.answers, answers))
    if (explaining.length === 0) expect({ calls, answers }).toEqual({ calls, answers: predictions[0]?.answers })
    const sessions = withoutActivity(await read())
    const expected = explaining.map((each) => toRows(each.world))
    const found = explaining[expected.findIndex((each) => isDeepStrictEqual(each, sessions))]
    if (found) world = found.world
    else expect({ calls, answers, sessions }).toEqual({ calls, answers, sessions: expected[0] })
  }

  const live = () => world.sessions.filter((session) => !endOf(world, session))

  /** Asks sessions whether they are signed in. That is activity, which is noted without anybody waiting for it. */
  async function lookAt(sessions: readonly ModelSession[]): Promise<void> {
    const calls = sessions.map(({ bearer }): Call => ({ action: 'me', by: bearer }))
    for (const [index, given] of (await Promise.all(calls.map(answer))).entries()) {
      for (const prediction of predict(world, calls.slice(index, index + 1), [given])) {
        expect([given]).toEqual(prediction.answers)
        world = prediction.world
      }
    }
    const ids = new Set(live().map(({ id }) => id))
    const noted = async () => activityOf((await read()).filter(({ id }) => ids.has(id)))
    await eventually(noted, 5_000).toEqual(activityOf(live()))
  }

  await make([{ action: 'login', password: PASSWORD }])
  for (const each of groups) {
    const before = new Set(live().map(({ id }) => id))
    if (typeof each === 'string') {
      clock.advance(each)
      world.now = clock.now().getTime()
    } else
      await make(
        each.steps.map((one) => toCall(world, one)),
        each.isHeld,
      )
    await lookAt(world.sessions.filter((session) => before.has(session.id) || !endOf(world, session)))
  }
  for (const { leaf } of world.sessions) await make([{ action: 'refresh', token: leaf }])
  await lookAt(world.sessions)
}

test('whatever happens to sessions at the same time, some order of it explains all that comes of it', async () => {
  await fc.assert(fc.asyncProperty(history, run), {
    examples: EXAMPLES.map((each): [History] => [each]),
    numRuns: RUNS,
    interruptAfterTimeLimit: LIMIT_MS,
  })
})

import DataLoader from 'dataloader'
import type { Clock, Sql } from '../ports.js'
import { insertEvents } from './audit.js'
import { type Records, SESSION_COLUMNS, type SessionRecord, USER_COLUMNS, type UserRecord } from './records.js'

/** A live refresh token that is to be replaced by its successor. */
export interface Rotation {
  hash: Buffer
  successorHash: Buffer
  /** What a later presentation of the token within the grace period gets. */
  sealedSuccessor: Buffer
  /** The JSON of the events to record. */
  events: string
}

/** Whose token was replaced. */
export interface Rotated {
  session: SessionRecord
  user: UserRecord
}

interface Deps {
  sql: Sql
  clock: Clock
  records: Records
  idleTimeoutMs: number
}

const MAX_TOGETHER = 64

// One statement, so that of many concurrent presentations of one token exactly one rotates it: the others wait for the
// row of the session, find the token no longer LIVE, and claim nothing. The order of the steps is ours, not the
// planner's: sessions, in order, before their tokens, as everywhere, so that two statements never wait for each other.
// What the parent was to hand out again is used now: kept, it would lead whoever has an old token and a copy of the database
// from each token to the next, to the one that is live.
const rotate = (whenLocked: '' | 'SKIP LOCKED') => `
  WITH input AS MATERIALIZED (
    SELECT decode(hash, 'base64') AS hash, decode("successorHash", 'base64') AS successor_hash,
           decode("sealedSuccessor", 'base64') AS sealed_successor, events
    FROM jsonb_to_recordset($1::text::jsonb)
      AS i(hash text, "successorHash" text, "sealedSuccessor" text, events text)
  ), presented AS MATERIALIZED (
    SELECT hash, session_id FROM refresh_tokens
    WHERE hash = ANY(ARRAY(SELECT hash FROM input)) AND state = 'LIVE'
  ), live AS MATERIALIZED (
    SELECT s.id AS session_id, s.user_id FROM sessions s
    WHERE s.id = ANY(ARRAY(SELECT session_id FROM presented)) AND s.ended_at IS NULL
      AND s.expires_at > $2::timestamptz AND s.last_activity_at > $3::timestamptz
      AND (SELECT u.is_active FROM users u WHERE u.id = s.user_id)
    ORDER BY s.id FOR NO KEY UPDATE ${whenLocked}
  ), claimed AS (
    UPDATE refresh_tokens t
    SET state = 'ROTATED', rotated_at = $2::timestamptz, sealed_successor = input.sealed_successor
    FROM presented JOIN live USING (session_id) JOIN input ON input.hash = presented.hash
    WHERE t.hash = presented.hash AND t.state = 'LIVE'
    RETURNING t.hash, t.parent_hash, input.successor_hash, input.events, live.session_id, live.user_id
  ), spent AS (
    UPDATE refresh_tokens parent SET sealed_successor = NULL FROM claimed WHERE parent.hash = claimed.parent_hash
  ), successor AS (
    INSERT INTO refresh_tokens (hash, session_id, parent_hash, state, created_at)
    SELECT successor_hash, session_id, hash, 'LIVE', $2::timestamptz FROM claimed
  ), renewed AS (
    UPDATE sessions s SET last_rotation_at = $2::timestamptz, last_activity_at = $2::timestamptz
    FROM claimed WHERE s.id = claimed.session_id
    RETURNING ${SESSION_COLUMNS}
  ), logged AS (${insertEvents('claimed.events', 'claimed')})
  SELECT encode(claimed.hash, 'base64') AS hash, row_to_json(renewed) AS session,
         (SELECT row_to_json(account) FROM (SELECT ${USER_COLUMNS} FROM users u WHERE u.id = claimed.user_id) account) AS user
  FROM claimed JOIN renewed ON renewed.id = claimed.session_id`
const ROTATE_TOGETHER = rotate('SKIP LOCKED')
const ROTATE_ALONE = rotate('')

/** Replaces refresh tokens. Those that come while a statement is under way share the next one, as commits share a flush. */
export function createRotations({ sql, clock, records, idleTimeoutMs }: Deps) {
  async function execute(statement: string, rotations: readonly Rotation[]): Promise<Map<string, Rotated>> {
    const now = clock.now()
    const input = rotations.map(({ hash, successorHash, sealedSuccessor, events }) => ({
      hash: hash.toString('base64'),
      successorHash: successorHash.toString('base64'),
      sealedSuccessor: sealedSuccessor.toString('base64'),
      events,
    }))
    const rows = await sql<Rotated & { hash: string }>(statement, [
      JSON.stringify(input),
      now,
      new Date(now.getTime() - idleTimeoutMs),
    ])
    return new Map(
      rows.map(({ hash, session, user }) => [
        hash,
        { session: records.reviveSession(session), user: records.reviveUser(user) },
      ]),
    )
  }

  /** Of presentations of one token only the first takes part. */
  async function executeTogether(rotations: readonly Rotation[]): Promise<(Rotated | null)[]> {
    const byHash = new Map<string, Rotation>()
    for (const rotation of rotations) {
      const key = rotation.hash.toString('base64')
      if (!byHash.has(key)) byHash.set(key, rotation)
    }
    const rotated = await execute(ROTATE_TOGETHER, [...byHash.values()])
    return rotations.map((rotation) => {
      const key = rotation.hash.toString('base64')
      return byHash.get(key) === rotation ? (rotated.get(key) ?? null) : null
    })
  }

  let underWay: Promise<unknown> = Promise.resolve()
  const loader = new DataLoader<Rotation, Rotated | null>(
    (rotations) => {
      const work = executeTogether(rotations)
      underWay = work.catch(() => {})
      return work
    },
    {
      cache: false,
      maxBatchSize: MAX_TOGETHER,
      batchScheduleFn: (dispatch) => void underWay.then(() => setImmediate(dispatch)),
    },
  )

  return {
    /** Null: the token is not live, or its session or account is not. */
    async rotate(rotation: Rotation): Promise<Rotated | null> {
      // Rows that somebody else holds were left out, and an error may be about another token: then it waits on its own.
      const together = await loader.load(rotation).catch(() => null)
      return together ?? (await execute(ROTATE_ALONE, [rotation])).get(rotation.hash.toString('base64')) ?? null
    },
  }
}

export type Rotations = ReturnType<typeof createRotations>

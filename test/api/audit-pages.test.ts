import fc from 'fast-check'
import pg from 'pg'
import { describe, expect, onTestFinished, test } from 'vitest'
import { AUDIT_EVENTS, type AuditEventType, RISK_LEVELS, type RiskLevel } from '../../src/audit-events.js'
import { createKeyRings } from '../../src/crypto/key-ring.js'
import { createAuditCursors } from '../../src/services/audit-cursors.js'
import { startApp } from '../support/app.js'
import { TEST_ENVIRONMENT } from '../support/environment.js'
import { AuditLogDocument, type AuditLogQueryVariables } from '../support/generated/graphql.js'

// What is put into the log past its sealing does not verify: it is not to be signed here.
const app = await startApp({ env: { AUDIT_CHECKPOINT_EVENTS: '1000000', AUDIT_CHECKPOINT_INTERVAL: '36500d' } })
const client = new pg.Client(app.installation.databaseUrl)
await client.connect()

/** Over several stretches of 16384 positions. */
const COUNT = 60_000
const FIRST = 1_000_001n
const START = '2020-01-01T00:00:00Z'
const USERS = ['00000000-0000-4000-8000-00000000000a', '00000000-0000-4000-8000-00000000000b']
const SESSIONS = ['00000000-0000-4000-8000-0000000000aa', '00000000-0000-4000-8000-0000000000bb']
const ADDRESSES = ['192.0.2.1', '192.0.2.2', '192.0.2.3']

/**
 * A minute from one event to the next, give or take two; three have the time of quite another clock. Types have
 * risks and successes as they come, and sessions accounts, which the product's own events do not.
 */
const FILL = `
  INSERT INTO audit_events (position, id, type, occurred_at, success, risk_level, user_id, session_id, ip_address, metadata,
                            commitment, hash)
  SELECT $1::bigint + i, gen_random_uuid(), (enum_range(NULL::audit_event_type))[1 + floor(20 * power(random(), 3))],
         $2::timestamptz + (CASE WHEN i % 20000 = 7 THEN random() * 60000 ELSE i + 4 * random() - 2 END) * interval '1 minute',
         random() < 0.9, (enum_range(NULL::risk_level))[1 + floor(3 * power(random(), 2))],
         ($3::uuid[])[1 + floor(3 * random())], ($4::uuid[])[1 + floor(4 * random())], ($5::text[])[1 + floor(4 * random())], '{}',
         '', ''
  FROM generate_series(0, $6::int - 1) AS i`
await client.query(FILL, [FIRST, START, USERS, SESSIONS, ADDRESSES, COUNT])

/** With the key of the tests. */
const cursors = createAuditCursors(createKeyRings([TEST_ENVIRONMENT.SECRET_KEY ?? ''])('audit-cursor'))
const toCursor = (position: bigint) => cursors.toCursor({ position })
const { auditor } = app
const chief = await auditor()

async function read(variables: AuditLogQueryVariables) {
  const { edges, pageInfo } = await chief.call(AuditLogDocument, { scope: 'EVERYONE', ...variables })
  return { ids: edges.map(({ node }) => node.id), ...pageInfo }
}

interface Asked {
  types: AuditEventType[] | null
  minRiskLevel: RiskLevel | null
  success: boolean | null
  from: Date | null
  to: Date | null
  userId: string | null
  sessionId: string | null
  ipAddress: string | null
  position: bigint | null
  isFromEnd: boolean
  size: number
}

/** The same by the plainest of statements. */
async function expected({ position, isFromEnd, size, minRiskLevel, ...filter }: Asked): Promise<string[]> {
  const risks = minRiskLevel && RISK_LEVELS.slice(RISK_LEVELS.indexOf(minRiskLevel))
  const { rows } = await client.query<{ id: string }>(
    `SELECT id FROM audit_events
     WHERE ($1::text[] IS NULL OR type::text = ANY($1)) AND ($2::text[] IS NULL OR risk_level::text = ANY($2))
       AND ($3::boolean IS NULL OR success = $3) AND ($4::timestamptz IS NULL OR occurred_at >= $4)
       AND ($5::timestamptz IS NULL OR occurred_at < $5) AND ($6::uuid IS NULL OR user_id = $6)
       AND ($7::uuid IS NULL OR session_id = $7) AND ($8::text IS NULL OR ip_address = $8)
       AND ($9::bigint IS NULL OR CASE WHEN $10 THEN position > $9 ELSE position < $9 END)
     ORDER BY CASE WHEN $10 THEN position ELSE -position END LIMIT $11::int`,
    [
      ...[filter.types, risks, filter.success, filter.from, filter.to, filter.userId, filter.sessionId],
      ...[filter.ipAddress, position, isFromEnd, size],
    ],
  )
  const ids = rows.map(({ id }) => id)
  return isFromEnd ? ids.reverse() : ids
}

const orNull = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { freq: 2 })
const time = fc.date({ min: new Date('2019-12-31'), max: new Date('2020-02-15'), noInvalidDate: true })
const asked: fc.Arbitrary<Asked> = fc.record({
  types: orNull(fc.uniqueArray(fc.constantFrom(...(Object.keys(AUDIT_EVENTS) as AuditEventType[])), { maxLength: 5 })),
  minRiskLevel: orNull(fc.constantFrom(...RISK_LEVELS)),
  success: orNull(fc.boolean()),
  ...{ from: orNull(time), to: orNull(time) },
  userId: orNull(fc.constantFrom(...USERS)),
  sessionId: orNull(fc.constantFrom(...SESSIONS)),
  ipAddress: orNull(fc.constantFrom(...ADDRESSES, '192.0.2.4')),
  position: orNull(fc.bigInt(FIRST - 10n, FIRST + BigInt(COUNT) + 10n)),
  isFromEnd: fc.boolean(),
  size: fc.integer({ min: 1, max: 100 }),
})

describe('a page of the audit log', () => {
  test('has what its filter says and nothing else, from every cursor and in both directions', async () => {
    onTestFinished(() => client.end())
    await fc.assert(
      fc.asyncProperty(asked, async (one) => {
        const { position, isFromEnd, size, ...conditions } = one
        const cursor = position === null ? null : toCursor(position)
        const filter = {
          ...conditions,
          ...{ from: one.from?.toISOString() ?? null, to: one.to?.toISOString() ?? null },
        }
        const { ids } = await read({
          ...{ filter, ...(isFromEnd ? { last: size, before: cursor } : { first: size, after: cursor }) },
        })
        expect(ids).toEqual(await expected(one))
      }),
      { numRuns: 300 },
    )
  })

  test('is empty after a cursor that is older than the log, and whole before it', async () => {
    const filter = { to: '2020-03-01T00:00:00Z' }
    for (const position of [0n, 1n]) {
      const after = await read({ first: 5, after: toCursor(position), filter })
      expect(after).toEqual({ ids: [], hasNextPage: false, hasPreviousPage: true, startCursor: null, endCursor: null })
    }
    const oldest = await read({ last: 2, before: toCursor(1n), filter })
    expect(oldest).toMatchObject({ ids: (await read({ last: 2, filter })).ids, hasNextPage: true })
    expect(oldest.ids).toHaveLength(2)
  })

  test('is whole after a cursor from the future, and empty before it', async () => {
    const future = toCursor(999_999_999_999_999_999n)
    expect((await read({ first: 5, after: future })).ids).toEqual((await read({ first: 5 })).ids)
    expect((await read({ last: 5, before: future })).ids).toEqual([])
  })

  test.each([
    ['from after to', { from: '2020-02-01T00:00:00Z', to: '2020-01-01T00:00:00Z' }, 0],
    ['an end before all time', { to: '0001-01-01T00:00:00Z' }, 0],
    ['a beginning after all time', { from: '9999-12-31T23:59:59.999Z' }, 0],
    ['the whole of time', { from: '0001-01-01T00:00:00Z', to: '9999-12-31T23:59:59Z' }, 5],
  ])('is what it must be with %s', async (_, filter, length) => {
    expect((await read({ first: 5, filter })).ids).toHaveLength(length)
  })
})

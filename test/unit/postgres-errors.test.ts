import { expect, test } from 'vitest'
import { codesOf, isDatabaseUnavailable } from '../../src/infra/postgres.js'

const withCode = (code: string) => Object.assign(new Error('It failed'), { code })

test.each([
  ...[
    'P1001',
    'P1002',
    'P1008',
    'P1017',
    'P2024',
    'P2028',
    '08006',
    '25006',
    '28000',
    '3D000',
    '57014',
    '57P01',
    '53100',
  ],
  ...['55P03', 'ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH'],
])('%s says that the database is away', (code) => expect(isDatabaseUnavailable(withCode(code))).toBe(true))

test.each(['23505', '42601', '40001', '22001', 'P2002', '108006', 'ENOSPC'])('%s does not', (code) =>
  expect(isDatabaseUnavailable(withCode(code))).toBe(false),
)

test.each([
  'Connection terminated unexpectedly',
  'timeout exceeded when trying to connect',
  'Client has encountered a connection error and is not queryable',
  "Can't reach database server at `db`:`5432`",
  'Server closed the connection',
  'Transaction API error: Unable to start a transaction in the given time.',
  'Query read timeout',
  'connect ENOENT /var/run/.s.PGSQL.5432',
  'database "none" is not currently accepting connections',
])('So does, without a code: %s', (message) => {
  expect(isDatabaseUnavailable(new Error('It failed', { cause: new Error(message) }))).toBe(true)
})

test('The codes of an error are those of what caused it too, wherever Prisma keeps them', () => {
  const driver = Object.assign(new Error('of the driver'), { cause: { originalCode: '40001' } })
  const error = Object.assign(withCode('P2010'), { meta: { code: 'P1', driverAdapterError: driver } })
  expect(codesOf(new Error('It failed', { cause: error }))).toEqual(['P2010', 'P1', '40001'])
  expect(codesOf('P1001')).toEqual([])
  expect(isDatabaseUnavailable('P1001')).toBe(false)
})

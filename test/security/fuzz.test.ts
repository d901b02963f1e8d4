import fc from 'fast-check'
import {
  type GraphQLArgument,
  type GraphQLField,
  type GraphQLInputType,
  getNamedType,
  isEnumType,
  isInputObjectType,
  isListType,
  isNonNullType,
  isObjectType,
  isUnionType,
} from 'graphql'
import pg from 'pg'
import { expect, test, vi } from 'vitest'
import { schema } from '../../src/executable-schema.js'
import { startApp } from '../support/app.js'

vi.setConfig({ testTimeout: 120_000 })

/** Calls of each field. */
const RUNS = 80
/** What hostile programs send where a text is expected. */
const HOSTILE = [
  ...[
    '',
    ' ',
    '\u0000',
    '\uFEFF',
    '\u202E',
    '\uD800',
    '𝒳',
    "' OR 1=1 --",
    '$(id)',
    '../../etc/passwd',
    '%00',
    '{{7*7}}',
  ],
  ...['null', 'undefined', 'NaN', '1e999', '-1', '__proto__', 'constructor', 'a@b', '@', 'a@b.example', '<script>'],
  ...['x'.repeat(100), 'é'.repeat(5000), '\n\r\t', '00000000-0000-0000-0000-000000000000', '9'.repeat(40)],
]
const text = fc.oneof(fc.constantFrom(...HOSTILE), fc.string({ unit: 'binary', maxLength: 60 }), fc.string())
const anything = fc.oneof(
  text,
  fc.integer(),
  fc.double(),
  fc.boolean(),
  fc.constant(null),
  fc.array(text, { maxLength: 3 }),
)

/** Mostly whole; now and then something is missing. */
const recordOf = (fields: Record<string, fc.Arbitrary<unknown>>) =>
  fc.oneof({ weight: 4, arbitrary: fc.record(fields) }, fc.record(fields, { requiredKeys: [] }))

/** A value that fits the type, or often enough one that does not. */
function arbitraryOf(type: GraphQLInputType): fc.Arbitrary<unknown> {
  if (isNonNullType(type)) return fc.oneof({ weight: 9, arbitrary: arbitraryOf(type.ofType) }, anything)
  if (isListType(type)) return fc.array(arbitraryOf(type.ofType), { maxLength: 4 })
  if (isEnumType(type)) return fc.oneof(fc.constantFrom(...type.getValues().map(({ name }) => name)), text)
  if (isInputObjectType(type)) {
    const fields = Object.values(type.getFields()).map((field) => [field.name, arbitraryOf(field.type)] as const)
    return recordOf(Object.fromEntries(fields))
  }
  const { name } = getNamedType(type)
  if (name === 'Boolean') return fc.oneof(fc.boolean(), anything)
  if (name === 'Int' || name === 'Float') return fc.oneof(fc.integer(), fc.double(), anything)
  return fc.oneof({ weight: 9, arbitrary: text }, anything)
}

const argumentsOf = (args: readonly GraphQLArgument[]) =>
  recordOf(Object.fromEntries(args.map(({ name, type }) => [name, arbitraryOf(type)])))

/** The operation that calls the field, with a variable for each argument. */
function operationOf(kind: 'query' | 'mutation', field: GraphQLField<unknown, unknown>): string {
  const variables = field.args.map(({ name, type }) => `$${name}: ${type}`).join(', ')
  const values = field.args.map(({ name }) => `${name}: $${name}`).join(', ')
  const type = getNamedType(field.type)
  const selection = isObjectType(type) || isUnionType(type) ? ' { __typename }' : ''
  return `${kind} (${variables}) { ${field.name}(${values})${selection} }`
}

const FIELDS = (['query', 'mutation'] as const).flatMap((kind) =>
  Object.values((kind === 'query' ? schema.getQueryType() : schema.getMutationType())?.getFields() ?? {})
    .filter(({ args }) => args.length > 0)
    .map((field) => ({ name: field.name, field, query: operationOf(kind, field) })),
)

const ROWS = `
  SELECT (SELECT json_agg(u ORDER BY id) FROM users u)::text AS users,
         (SELECT json_agg(json_build_array(s.id, s.ended_at, s.expires_at) ORDER BY id) FROM sessions s)::text AS sessions,
         (SELECT json_agg(t ORDER BY hash) FROM refresh_tokens t)::text AS tokens`

const app = await startApp()
const database = new pg.Client(app.installation.databaseUrl)
await database.connect()
const ada = await app.newUser()

/** Signed in, whoever calls one of these without an argument that is wrong has asked for the change. */
const CHANGES_ONES_OWN = new Set(['updateProfile', 'terminateAllSessions'])

test.each(FIELDS)(
  '$name takes whatever is sent without an internal error, and changes nothing',
  async ({ name, field, query }) => {
    const callers = CHANGES_ONES_OWN.has(name) ? [app.anonymous] : [app.anonymous, ada]
    const before = (await database.query(ROWS)).rows
    await fc.assert(
      fc.asyncProperty(argumentsOf(field.args), fc.constantFrom(...callers), async (variables, caller) => {
        const { status, errors } = await caller.post(JSON.stringify({ query, variables }))
        expect(status).toBeLessThan(500)
        const codes = errors.map(({ extensions }) => extensions.code)
        expect(codes).not.toContain('INTERNAL_SERVER_ERROR')
        expect(codes).not.toContain('SERVICE_UNAVAILABLE')
      }),
      { numRuns: RUNS },
    )
    expect((await database.query(ROWS)).rows).toEqual(before)
  },
)

test('the connection for this ends', () => database.end())

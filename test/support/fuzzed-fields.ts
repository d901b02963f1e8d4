// The root fields of the schema, and how to call them with whatever arguments.
import fc from 'fast-check'
import {
  type GraphQLField,
  type GraphQLOutputType,
  getNamedType,
  isObjectType,
  isUnionType,
  Kind,
  print,
} from 'graphql'
import { schema } from '../../src/executable-schema.js'
import { type Known, mix, someOf, toJson, tokenOf } from './hostile-values.js'

type Field = GraphQLField<unknown, unknown>
type Kinds = 'query' | 'mutation' | 'subscription'

/** Everything that is below a type: whatever comes back has to be written down as well. */
function selectionOf(type: GraphQLOutputType): string {
  const named = getNamedType(type)
  if (isUnionType(named)) {
    const members = named.getTypes().map((member) => `... on ${member.name} ${selectionOf(member)}`)
    return `{ __typename ${members.join(' ')} }`
  }
  if (!isObjectType(named)) return ''
  const fields = Object.values(named.getFields()).map((field) => `${field.name} ${selectionOf(field.type)}`)
  return `{ __typename ${fields.join(' ')} }`
}

/** The value as a document writes it. What looks like a value of an enum is taken for one. */
function literalOf(value: unknown): string {
  if (typeof value === 'string') {
    return tokenOf(value) ?? (/^[A-Z]+(_[A-Z]+)*$/.test(value) ? value : print({ kind: Kind.STRING, value }))
  }
  if (Array.isArray(value)) return `[${value.map(literalOf).join(' ')}]`
  if (typeof value !== 'object' || value === null) return String(value)
  return `{${Object.entries(value).map(([name, each]) => `${name}: ${literalOf(each)}`)}}`
}

export interface Attempt {
  args: Record<string, unknown>
  /** Whether the values stand in the document, not in variables. */
  isLiteral: boolean
}

export interface FuzzedField {
  kind: Kinds
  name: string
  attempts(known: Known): fc.Arbitrary<Attempt>
  /** The body of a request. */
  bodyOf(attempt: Attempt): string
}

function fuzzed(kind: Kinds, field: Field): FuzzedField {
  const { name, args } = field
  const selection = selectionOf(field.type)
  const variables = args.map((arg) => `$${arg.name}: ${arg.type}`).join(', ')
  const values = args.map((arg) => `${arg.name}: $${arg.name}`).join(', ')
  const slots = Object.fromEntries(args.map((arg) => [arg.name, arg]))
  const literals = (given: object) => {
    const pairs = Object.entries(given).map(([each, value]) => `${each}: ${literalOf(value)}`)
    return pairs.length > 0 ? `(${pairs.join(', ')})` : ''
  }
  return {
    ...{ kind, name },
    attempts: (known) =>
      fc.record({
        args: mix(slots, known, someOf(Object.keys(slots))),
        isLiteral: fc.oneof({ weight: 4, arbitrary: fc.constant(false) }, fc.constant(true)),
      }),
    bodyOf: ({ args: given, isLiteral }) => {
      const body = isLiteral
        ? { query: `${kind} { ${name}${literals(given)} ${selection} }` }
        : { query: `${kind} (${variables}) { ${name}(${values}) ${selection} }`, variables: given }
      return toJson(body)
    },
  }
}

const ROOTS = [
  ['query', schema.getQueryType()],
  ['mutation', schema.getMutationType()],
  ['subscription', schema.getSubscriptionType()],
] as const

/** Every root field that takes an argument. */
export const FUZZED_FIELDS: readonly FuzzedField[] = ROOTS.flatMap(([kind, type]) =>
  Object.values(type?.getFields() ?? {})
    .filter(({ args }) => args.length > 0)
    .map((field) => fuzzed(kind, field)),
)

import {
  type GraphQLField,
  GraphQLInterfaceType,
  GraphQLNonNull,
  type GraphQLObjectType,
  GraphQLUnionType,
  getNamedType,
  isInputObjectType,
  isInterfaceType,
  isObjectType,
} from 'graphql'
import ms from 'ms'
import { describe, expect, test } from 'vitest'
import * as errors from '../../src/errors.js'
import { printContract, schema } from '../../src/executable-schema.js'
import { defaultRateLimits } from '../../src/rate-limits.js'

type Field = GraphQLField<unknown, unknown>

const fieldsOf = (type: GraphQLObjectType | null | undefined): Field[] => Object.values(type?.getFields() ?? {})
const queries = fieldsOf(schema.getQueryType())
const mutations = fieldsOf(schema.getMutationType())
const subscriptions = fieldsOf(schema.getSubscriptionType())
const roots = [...queries, ...mutations, ...subscriptions].map((field) => [field.name, field] as const)
const LIMITS = defaultRateLimits(true)

/** What a field says of who may call it. */
const accessOf = ({ extensions }: Field) =>
  (extensions.pothosOptions ?? {}) as { isPublic?: boolean; authScopes?: Record<string, unknown> | (() => unknown) }

/** What anybody may call. Whoever adds to it has thought about it. */
const PUBLIC = [
  ...['csrfToken', 'me'],
  ...['checkPassword', 'exchangeToken', 'login', 'logout', 'refresh', 'register', 'requestPasswordReset'],
  ...['resendVerificationEmail', 'resetPassword', 'verifyEmail', 'verifyToken'],
]

describe('every root field', () => {
  test.each(roots)('%s declares its scopes, or that it is public', (_, field) => {
    const { isPublic = false, authScopes } = accessOf(field)
    expect(isPublic).toBe(authScopes === undefined)
    if (typeof authScopes === 'object') {
      expect(authScopes).toMatchObject({ signedIn: true })
      for (const name of Object.keys(authScopes)) expect(['signedIn', 'permission']).toContain(name)
    }
  })

  test('is public only where this list says so', () => {
    expect(roots.filter(([, field]) => accessOf(field).isPublic).map(([name]) => name)).toEqual(PUBLIC)
  })
})

describe('every mutation', () => {
  const rows = mutations.map((field) => [field.name, field] as const)
  const capitalized = (name: string) => name.charAt(0).toUpperCase() + name.slice(1)

  test.each(rows)('%s has a limit of its own, which is printed with it', (name) => {
    const rules = LIMITS[name] ?? []
    expect(rules.length).toBeGreaterThan(0)
    const [, printed = ''] =
      new RegExp(`^  ${name}[(:].*?!((?: @rateLimit\\(.*?\\))+)$`, 'm').exec(printContract()) ?? []
    const directives = rules.map(
      ({ max, windowMs, by }) => ` @rateLimit(max: ${max}, window: "${ms(windowMs)}", by: "${by}")`,
    )
    expect(printed).toBe(directives.join(''))
  })

  test.each(rows)('%s takes one input, and answers with its own union', (name, { args, type }) => {
    expect(args.length).toBeLessThanOrEqual(1)
    for (const argument of args) {
      expect(argument.name).toBe('input')
      expect(getNamedType(argument.type).name).toBe(`${capitalized(name)}Input`)
      expect(isInputObjectType(getNamedType(argument.type))).toBe(true)
    }
    const union = type instanceof GraphQLNonNull ? type.ofType : null
    if (!(union instanceof GraphQLUnionType)) return expect.fail(`${name} answers with ${type}`)
    expect(union.name).toBe(`${capitalized(name)}Result`)
    const [successes, failures] = [
      union.getTypes().filter((member) => member.getInterfaces().length === 0),
      union.getTypes().filter((member) => member.getInterfaces().length > 0),
    ]
    expect(successes.map((member) => member.name)).toEqual([`${capitalized(name)}Success`])
    for (const failure of failures) expect(failure.getInterfaces().map((each) => each.name)).toContain('UserError')
  })
})

test('Every limit is that of a root field, or a general one', () => {
  const names = new Set(roots.map(([name]) => name))
  const others = Object.keys(LIMITS).filter((name) => !names.has(name))
  expect(others).toEqual(['anonymous', 'authenticated'])
})

describe('every expected failure', () => {
  const classes = Object.entries(errors)
    .filter(([, value]) => Object.getPrototypeOf(value) === errors.DomainError)
    .map(([name]) => name)

  test.each(classes.map((name) => [name]))('%s is a type of the same name that implements UserError', (name) => {
    const type = schema.getType(name)
    expect(isObjectType(type) && type.getInterfaces().map((each) => each.name)).toEqual(['UserError'])
  })

  test('stands in the result of some mutation, and nothing else does', () => {
    const userError = schema.getType('UserError')
    if (!(userError instanceof GraphQLInterfaceType)) return expect.fail('There is no UserError')
    const types = schema.getPossibleTypes(userError).map(({ name }) => name)
    expect([...types].sort()).toEqual([...classes].sort())
    const members = mutations.flatMap(({ type }) => {
      const union = getNamedType(type)
      return union instanceof GraphQLUnionType ? union.getTypes().map(({ name }) => name) : []
    })
    expect(members).toEqual(expect.arrayContaining(types))
  })
})

/** The tokens that the contract hands out, and what only speaks of a password or a token. */
const NAMED_LIKE_SECRETS = [
  ...['Authentication.accessToken', 'Authentication.refreshToken', 'Authentication.tokenType'],
  ...['Query.csrfToken', 'User.passwordChangedAt', 'VerifyEmailSuccess.exchangeToken'],
]

test('No exposed field is named like a hash or a secret, but for those that this list names', () => {
  const types = Object.values(schema.getTypeMap()).filter((type) => isObjectType(type) || isInterfaceType(type))
  const named = types
    .filter(({ name }) => name !== 'Mutation' && !name.startsWith('__'))
    .flatMap((type) => Object.keys(type.getFields()).map((field) => `${type.name}.${field}`))
    .filter((name) => /\.(.*)(hash|secret|salt|password|token|sealed|private|key)/i.test(name))
  expect(named.sort()).toEqual(NAMED_LIKE_SECRETS)
})

test('An id is that of one object, whatever asks for it: these types have one, and none of them stands for another', () => {
  const withId = Object.values(schema.getTypeMap()).filter((type) => isObjectType(type) && 'id' in type.getFields())
  expect(withId.map(({ name }) => name).sort()).toEqual(['AuditEvent', 'Session', 'User'])
})

test('No mutation takes an account, a role, a permission or a state, nor one for who is signed in another address', () => {
  const taken = mutations.flatMap(({ name, args }) =>
    args.flatMap(({ type }) => {
      const input = getNamedType(type)
      return isInputObjectType(input) ? Object.keys(input.getFields()).map((field) => ({ name, field })) : []
    }),
  )
  expect(taken.length).toBeGreaterThan(mutations.length)
  expect(
    taken.filter(({ field }) => /user_?id|account|role|permission|grant|active|verified|state/i.test(field)),
  ).toEqual([])
  const withAddress = taken.filter(({ field }) => /e-?mail/i.test(field)).map(({ name }) => name)
  expect(PUBLIC).toEqual(expect.arrayContaining(withAddress))
  expect(withAddress).toContain('register')
})

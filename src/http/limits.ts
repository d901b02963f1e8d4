import { maxAliasesPlugin } from '@escape.tech/graphql-armor-max-aliases'
import { maxDepthPlugin } from '@escape.tech/graphql-armor-max-depth'
import { maxDirectivesPlugin } from '@escape.tech/graphql-armor-max-directives'
import { GraphQLError, Kind, OperationTypeNode, type SelectionSetNode, type ValidationRule } from 'graphql'
import type { Plugin } from 'graphql-yoga'
import { rootFields, visitRoot } from './root-fields.js'

/** What a document may ask for at most. */
export interface DocumentLimits {
  tokens: number
  depth: number
  aliases: number
  rootFields: number
  directives: number
}

/** Mutations that test, take or change a credential: each of them once in an operation, whatever it is called there. */
const ONCE_IN_AN_OPERATION = new Set([
  ...['register', 'verifyEmail', 'resendVerificationEmail', 'login', 'refresh', 'exchangeToken'],
  ...['changePassword', 'requestPasswordReset', 'resetPassword', 'checkPassword'],
])

/** Ends the validation, so that a document that is too complex costs no more of it. */
export function refuse(message: string): never {
  throw new GraphQLError(message, { extensions: { code: 'QUERY_TOO_COMPLEX', http: { spec: true, status: 400 } } })
}

/**
 * To merge fields of one name, or to pair fragments, is quadratic work for the validation, at each depth anew; no client repeats
 * that many, or has as many fragments.
 */
const MAX_REPETITIONS = 60

/** How many fields have the name of one before them in their selection; and how many fragments are spread that are not there. */
function repetitionsIn({ selections }: SelectionSetNode, fragments: Set<string>, keys = new Set<string>()): number {
  let repetitions = 0
  for (const selection of selections) {
    if (selection.kind === Kind.FRAGMENT_SPREAD && !fragments.has(selection.name.value)) repetitions += 1
    if (selection.kind === Kind.INLINE_FRAGMENT) repetitions += repetitionsIn(selection.selectionSet, fragments, keys)
    if (selection.kind !== Kind.FIELD) continue
    const key = (selection.alias ?? selection.name).value
    if (keys.has(key)) repetitions += 1
    keys.add(key)
    if (selection.selectionSet) repetitions += repetitionsIn(selection.selectionSet, fragments)
  }
  return repetitions
}

/** Refuses very many fragments, and operations that repeat fields over and over. Goes before anything compares them. */
const repetitionsRule: ValidationRule = () => ({
  Document({ definitions }) {
    let [inFragments, inOperation] = [0, 0]
    const fragments = definitions.flatMap((each) => (each.kind === Kind.FRAGMENT_DEFINITION ? each.name.value : []))
    if (fragments.length > MAX_REPETITIONS) refuse(`Has more than ${MAX_REPETITIONS} fragments.`)
    const names = new Set(fragments)
    for (const definition of definitions) {
      const repetitions = 'selectionSet' in definition ? repetitionsIn(definition.selectionSet, names) : 0
      if (definition.kind === Kind.FRAGMENT_DEFINITION) inFragments += repetitions
      else inOperation = Math.max(inOperation, repetitions)
    }
    if (inFragments + inOperation > MAX_REPETITIONS)
      refuse(`Repeats fields, or spreads unknown fragments, more than ${MAX_REPETITIONS} times.`)
  },
})

/** The answer repeats names for each thing of a list: long ones would make it a thousand times as long as the document. */
const MAX_NAME = 100

const namesRule: ValidationRule = () => ({
  Name({ value }) {
    if (value.length > MAX_NAME) refuse(`Has a name of more than ${MAX_NAME} letters.`)
  },
})

const onReject = [(_context: unknown, error: GraphQLError) => refuse(error.message.replace('Syntax Error: ', ''))]

const rootFieldsRule =
  (max: number): ValidationRule =>
  (context) => ({
    OperationDefinition(definition) {
      const calls = rootFields(definition, (name) => context.getFragment(name))
      if (calls.size > max) refuse(`Root fields limit of ${max} exceeded, found ${calls.size}.`)
      if (definition.operation !== OperationTypeNode.MUTATION) return
      const called = new Set<string>()
      for (const field of calls.values()) {
        if (ONCE_IN_AN_OPERATION.has(field) && called.has(field)) refuse(`An operation may call ${field} once only.`)
        called.add(field)
      }
    },
  })

const CONDITIONS = new Set(['skip', 'include'])

/** Of a subscription whose only field was skipped, graphql-js finds none and throws: the specification allows no conditions there. */
const unconditionalRule: ValidationRule = (context) => ({
  OperationDefinition(definition) {
    if (definition.operation !== OperationTypeNode.SUBSCRIPTION) return
    const fragmentOf = (name: string) => context.getFragment(name)
    visitRoot(definition, fragmentOf, ({ directives }) => {
      for (const directive of directives ?? []) {
        const name = directive.name.value
        if (!CONDITIONS.has(name)) continue
        context.reportError(new GraphQLError(`A subscription may not have @${name} at its root.`, { nodes: directive }))
      }
    })
  },
})

/** Lines of a document for each of the tokens that it may have: for each one, and for a comment of its own. */
const LINES_PER_TOKEN = 2

/** Each error counts the lines before its place anew. */
function assertLines(document: string, most: number): void {
  const ends = /\r\n|[\n\r]/g
  for (let lines = 1; ends.test(document); lines += 1) if (lines === most) refuse(`Has more than ${most} lines.`)
}

/** Refuses documents beyond the limits, on every transport. */
export const documentLimits = ({ tokens, depth, aliases, rootFields, directives }: DocumentLimits): Plugin[] => [
  {
    onParse({ parseFn, setParseFn }) {
      setParseFn((source, options) => {
        assertLines(typeof source === 'string' ? source : source.body, LINES_PER_TOKEN * tokens)
        return parseFn(source, { ...options, maxTokens: tokens, maxComments: tokens })
      })
    },
  },
  maxDepthPlugin({ n: depth, flattenFragments: true, onReject }),
  maxAliasesPlugin({ n: aliases, onReject }),
  maxDirectivesPlugin({ n: directives, onReject }),
  {
    onValidate({ addValidationRule }) {
      // Before the next ones, because what they say repeats names.
      addValidationRule(namesRule)
      addValidationRule(repetitionsRule)
      addValidationRule(rootFieldsRule(rootFields))
      addValidationRule(unconditionalRule)
    },
  },
]

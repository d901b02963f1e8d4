import { type DocumentNode, getOperationAST } from 'graphql'
import { BEFORE_EXECUTION, badRequest } from './graphql-errors.js'

type Variables = Record<string, unknown>

/**
 * The variables that the operation declares. What else was sent is not kept while it goes on: a subscription lasts, and a
 * list of thousands of empty objects takes twenty times as much memory as its text.
 */
export function declaredOf(
  document: DocumentNode,
  operationName: string | null | undefined,
  variables: Variables | null | undefined,
): Variables {
  const { variableDefinitions = [] } = getOperationAST(document, operationName) ?? {}
  const names = variableDefinitions.map(({ variable }) => variable.name.value)
  const declared = names.filter((name) => variables && Object.hasOwn(variables, name))
  return Object.fromEntries(declared.map((name) => [name, variables?.[name]]))
}

/** All inputs together have fewer. */
const MAX_FIELDS = 500

/** Whether objects of the variables have more fields than any operation takes, however deep they are. */
export function hasTooManyFields(variables: Variables | null | undefined): boolean {
  const values: unknown[] = [variables]
  let fields = 0
  while (values.length > 0) {
    const value = values.pop()
    if (typeof value !== 'object' || value === null) continue
    // Names first: to read so many values takes longer.
    if (!Array.isArray(value)) fields += Object.keys(value).length
    if (fields > MAX_FIELDS) return true
    for (const part of Object.values(value)) if (typeof part === 'object') values.push(part)
  }
  return false
}

const refusal = (message: string) => badRequest(message, 'too_large', BEFORE_EXECUTION)

/** Of each error in an object GraphQL puts all of it into words, which nobody reads. */
export const tooManyFields = () => refusal(`The variables have more than ${MAX_FIELDS} fields.`)

/** Past some thousands of levels. */
export const tooDeep = () => refusal('The variables have too many levels.')

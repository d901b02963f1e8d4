// Where in the input of an operation GraphQL itself finds something wrong.
import {
  type ArgumentNode,
  type DefinitionNode,
  type DocumentNode,
  type GraphQLError,
  Kind,
  type Location,
  type ObjectFieldNode,
  parse,
  type Source,
  visit,
} from 'graphql'

/** The nodes that stand for something that was sent. */
const VALUES: ReadonlySet<string> = new Set([
  ...[Kind.ARGUMENT, Kind.OBJECT_FIELD, Kind.OBJECT, Kind.LIST, Kind.NULL, Kind.VARIABLE],
  ...[Kind.INT, Kind.FLOAT, Kind.STRING, Kind.BOOLEAN, Kind.ENUM],
])

/** Documents by their text, for as long as an error points to it. */
const documents = new WeakMap<Source, DocumentNode>()
function documentOf(source: Source): DocumentNode {
  const document = documents.get(source) ?? parse(source)
  documents.set(source, document)
  return document
}

/** The path within the arguments to where each variable of an operation is used first, there or in a fragment. */
const uses = new WeakMap<DefinitionNode, ReadonlyMap<string, string[]>>()
function usesOf({ source, start }: Location): ReadonlyMap<string, string[]> | undefined {
  const { definitions } = documentOf(source)
  const operation = definitions.find(({ loc }) => loc && loc.start <= start && loc.end > start)
  const known = operation && uses.get(operation)
  if (!operation || known) return known
  const found = new Map<string, string[]>()
  const path: string[] = []
  const step = {
    enter({ name }: ArgumentNode | ObjectFieldNode) {
      path.push(name.value)
    },
    leave() {
      path.pop()
    },
  }
  const fragments = definitions.filter(({ kind }) => kind === Kind.FRAGMENT_DEFINITION)
  visit({ kind: Kind.DOCUMENT, definitions: [operation, ...fragments] } as DocumentNode, {
    VariableDefinition: () => false,
    Argument: step,
    ObjectField: step,
    Variable({ name }) {
      if (!found.has(name.value)) found.set(name.value, [...path])
    },
  })
  uses.set(operation, found)
  return found
}

/** The path within the arguments that leads to a literal of the document. */
function pathOfLiteral({ nodes }: GraphQLError): string[] {
  const [node] = nodes ?? []
  if (!node?.loc || !VALUES.has(node.kind)) return []
  const { loc } = node
  const path: string[] = []
  visit(documentOf(loc.source), {
    enter(node) {
      if (!node.loc || node.loc.start > loc.start || node.loc.end < loc.end) return false
      if (node.kind === Kind.ARGUMENT || node.kind === Kind.OBJECT_FIELD) path.push(node.name.value)
      return undefined
    },
  })
  return path
}

/** The path within the arguments to what is wrong in a variable, e.g. `at "input.scope"`: they may name it otherwise. */
function pathOfVariable({ nodes }: GraphQLError, variable: string, message: string): string[] {
  const [, within = ''] = / at "[^".[]+([.[][^"]*)"/.exec(message) ?? []
  const { loc } = nodes?.[0] ?? {}
  const path = (loc && usesOf(loc)?.get(variable)) ?? [variable]
  return [...path, ...within.split(/[.[\]]+/).filter(Boolean)]
}

/** What is not there has no place in the document, and an unknown field of a variable none in its path. */
const NOT_AT_ITS_PLACE = [
  /Field "(?:\w+\.)?(\w+)" of required type "[^"]+" was not provided/,
  /argument "(\w+)" of type "[^"]+" is required/,
  /; Field "([^"]+)" is not defined by type/,
]

/** What GraphQL itself finds wrong with a value, with the path that leads to it. */
export function issuesOf(error: GraphQLError, message: string): object[] {
  const [, variable] = /^Variable "\$([^"]+)"/.exec(message) ?? []
  const path = variable ? pathOfVariable(error, variable, message) : pathOfLiteral(error)
  const name = NOT_AT_ITS_PLACE.flatMap((pattern) => pattern.exec(message)?.[1] ?? [])
  return [{ path: [...path, ...name], code: 'invalid', message }]
}

import { type FragmentDefinitionNode, Kind, type SelectionNode, type SelectionSetNode } from 'graphql'

interface Selecting {
  selectionSet: SelectionSetNode
}
type FragmentOf = (name: string) => FragmentDefinitionNode | null | undefined

/** Visits all that is selected at the root of an operation, also by fragments. */
export function visitRoot(
  { selectionSet }: Selecting,
  fragmentOf: FragmentOf,
  visit: (selection: SelectionNode) => void,
  seen = new Set<string>(),
): void {
  for (const selection of selectionSet.selections) {
    visit(selection)
    if (selection.kind === Kind.INLINE_FRAGMENT) visitRoot(selection, fragmentOf, visit, seen)
    if (selection.kind !== Kind.FRAGMENT_SPREAD || seen.has(selection.name.value)) continue
    seen.add(selection.name.value)
    const fragment = fragmentOf(selection.name.value)
    if (fragment) visitRoot(fragment, fragmentOf, visit, seen)
  }
}

/** The root fields of an operation, those in fragments included, by their key in the answer: those of one key are executed once. */
export function rootFields(operation: Selecting, fragmentOf: FragmentOf): Map<string, string> {
  const fields = new Map<string, string>()
  visitRoot(operation, fragmentOf, (selection) => {
    if (selection.kind === Kind.FIELD) fields.set((selection.alias ?? selection.name).value, selection.name.value)
  })
  return fields
}

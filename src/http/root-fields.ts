import { type FragmentDefinitionNode, Kind, type SelectionSetNode } from 'graphql'

/** The root fields of an operation, those in fragments included, by their key in the answer: those of one key are executed once. */
export function rootFields(
  operation: { selectionSet: SelectionSetNode },
  fragmentOf: (name: string) => FragmentDefinitionNode | null | undefined,
): Map<string, string> {
  const fields = new Map<string, string>()
  const fragments = new Set<string>()
  function collect({ selections }: SelectionSetNode): void {
    for (const selection of selections) {
      if (selection.kind === Kind.FIELD) {
        fields.set((selection.alias ?? selection.name).value, selection.name.value)
      } else if (selection.kind === Kind.INLINE_FRAGMENT) {
        collect(selection.selectionSet)
      } else if (!fragments.has(selection.name.value)) {
        fragments.add(selection.name.value)
        const fragment = fragmentOf(selection.name.value)
        if (fragment) collect(fragment.selectionSet)
      }
    }
  }
  collect(operation.selectionSet)
  return fields
}

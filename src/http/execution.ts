import { type ExecutionArgs, type ExecutionResult, execute, getOperationAST, Kind } from 'graphql'
import type { ErrorMasker } from './graphql-errors.js'

/** `code` is OK or that of the error. */
export type OnField = (field: string, code: string, seconds: number) => void

export type Executor = (args: ExecutionArgs) => Promise<ExecutionResult>

/** Executes queries and mutations for every transport: measures their root fields by outcome, and masks their errors. */
export function createExecutor(maskError: ErrorMasker, onField: OnField): Executor {
  function measure({ document, operationName }: ExecutionArgs, { errors }: ExecutionResult, startedAt: number): void {
    const seconds = (performance.now() - startedAt) / 1000
    for (const selection of getOperationAST(document, operationName)?.selectionSet.selections ?? []) {
      if (selection.kind !== Kind.FIELD) continue
      const key = selection.alias?.value ?? selection.name.value
      const code = errors?.find(({ path }) => path?.[0] === key)?.extensions.code
      onField(selection.name.value, String(code ?? 'OK'), seconds)
    }
  }

  return async (args) => {
    const startedAt = performance.now()
    const result = await execute(args)
    const masked = result.errors ? { ...result, errors: result.errors.map(maskError) } : result
    measure(args, masked, startedAt)
    return masked
  }
}

import { createLog, type RootLog } from '../../src/infra/log.js'

export interface TestLog extends RootLog {
  /** What was logged as an error: a server that works logs none. */
  readonly problems: { message: string; fields: object }[]
  /** Every line, as production would write it. */
  readonly lines: readonly string[]
}

/** Prints nothing, and remembers everything. */
export function createTestLog(): TestLog {
  const lines: string[] = []
  const problems: TestLog['problems'] = []
  const watch = (log: RootLog): TestLog => ({
    ...log,
    problems,
    lines,
    error: (fields, message) => {
      problems.push({ message, fields })
      log.error(fields, message)
    },
    child: (fields) => watch(log.child(fields)),
  })
  return watch(createLog({ level: 'debug', format: 'json' }, { write: (line) => void lines.push(line) }))
}

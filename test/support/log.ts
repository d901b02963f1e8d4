import { createLog } from '../../src/infra/log.js'
import type { Log } from '../../src/ports.js'

export interface TestLog extends Log {
  /** What was logged as an error: a server that works logs none. */
  readonly problems: { message: string; fields: object }[]
  /** Forgets problems of that kind, and hears of no more: the test has seen what it wanted, and the server goes on telling. */
  hush(kind: RegExp): void
  /** Every line, as production would write it. */
  readonly lines: readonly string[]
}

/** Prints nothing, and remembers everything. */
export function createTestLog(): TestLog {
  const lines: string[] = []
  const problems: TestLog['problems'] = []
  const hushed: RegExp[] = []
  const isHushed = ({ message }: TestLog['problems'][number]) => hushed.some((kind) => kind.test(message))
  const hush = (kind: RegExp) => {
    hushed.push(kind)
    problems.splice(0, problems.length, ...problems.filter((problem) => !isHushed(problem)))
  }
  const log = createLog({ level: 'debug', format: 'json' }, { write: (line) => void lines.push(line) })
  return {
    ...log,
    ...{ problems, hush, lines },
    error: (fields, message) => {
      if (!isHushed({ message, fields })) problems.push({ message, fields })
      log.error(fields, message)
    },
  }
}

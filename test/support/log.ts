import type { RootLog } from '../../src/infra/log.js'

export interface TestLog extends RootLog {
  /** What was logged as an error: a server that works logs none. */
  readonly problems: { message: string; fields: object }[]
}

/** Prints nothing, and remembers what went wrong. */
export function createTestLog(): TestLog {
  const problems: TestLog['problems'] = []
  const log: TestLog = {
    problems,
    debug() {},
    info() {},
    warn() {},
    error: (fields, message) => void problems.push({ message, fields }),
    child: () => log,
  }
  return log
}

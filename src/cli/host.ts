import type { Replacements } from '../runtime.js'

/** What a command line has to do with: `process`, or what a program puts in its place. */
export interface Host {
  env: NodeJS.ProcessEnv
  stdin: NodeJS.ReadableStream
  stdout: NodeJS.WritableStream & { isTTY?: boolean }
  stderr: NodeJS.WritableStream & { isTTY?: boolean }
  /** For tests. */
  replacements?: Replacements
  /** Set when something has failed. */
  exitCode?: number | string | null | undefined
}

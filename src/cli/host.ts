/** What a command line has to do with: `process`, or what a program puts in its place. */
export interface Host {
  env: NodeJS.ProcessEnv
  stdin: NodeJS.ReadableStream
  stdout: NodeJS.WritableStream & { isTTY?: boolean }
  stderr: NodeJS.WritableStream & { isTTY?: boolean }
  /** Set when something has failed. */
  exitCode?: number | string | null | undefined
}

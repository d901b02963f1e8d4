import { expect } from 'vitest'

/** `expect.poll` with patience enough for a machine that is busy. A value that is there already costs no time. */
export const eventually = <T>(read: () => Promise<T> | T, timeout = 60_000) =>
  expect.poll(read, { timeout, interval: 10 })

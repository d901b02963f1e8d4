import ms, { type StringValue } from 'ms'
import type { Clock } from '../../src/ports.js'

export interface TestClock extends Clock {
  /** Lets that much time pass at once, e.g. `31m`. */
  advance(duration: StringValue): void
}

/** The time of day, which a test can move forwards. It goes on by itself, so that what comes later is later. */
export function createTestClock(): TestClock {
  let offset = 0
  return {
    now: () => new Date(Date.now() + offset),
    advance: (duration) => {
      offset += ms(duration)
    },
  }
}

/** Stops the clock at a full second: from now on only `advance` moves it. */
export function stopClock(clock: TestClock): void {
  let now = Math.ceil(clock.now().getTime() / 1000) * 1000
  clock.now = () => new Date(now)
  clock.advance = (duration) => {
    now += ms(duration)
  }
}

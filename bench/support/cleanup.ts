type Step = () => Promise<unknown> | unknown

const steps: Step[] = []
let running: Promise<void> | undefined

/** Registers what undoes something that was just done. Steps run in reverse, once, however the run ends. */
export const onCleanup = (step: Step): void => void steps.push(step)

async function runAll(): Promise<void> {
  for (const step of steps.reverse()) {
    try {
      await step()
    } catch (error) {
      console.error('Could not clean up:', error)
    }
  }
}

export function cleanUp(): Promise<void> {
  running ??= runAll()
  return running
}

export const isCleaningUp = (): boolean => running !== undefined

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => void cleanUp().then(() => process.exit(130)))
}

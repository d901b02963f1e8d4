/** Tells once that something has begun to fail, however often it is tried, and once that it works again. */
export function createOutageLog(tellFailure: (error: unknown) => void, tellEnd: () => void) {
  let isFailing = false
  /** Of what has begun before the last failure, a success says nothing. */
  let failures = 0
  return {
    isFailing: () => isFailing,
    failed: (error: unknown) => {
      failures += 1
      if (isFailing) return
      isFailing = true
      tellFailure(error)
    },
    /** To be called at the beginning of a try; what it gives, when that has succeeded. */
    attempt: () => {
      const before = failures
      return () => {
        if (!isFailing || failures !== before) return
        isFailing = false
        tellEnd()
      }
    },
  }
}

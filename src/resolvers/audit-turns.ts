import { assertAwaited, type Context, signedIn } from '../context.js'

/** Reads the audit log for one viewer, whose reads take turns: everybody else waits for one of them at most. */
export const readInTurn = <T>(context: Context, read: () => Promise<T>): Promise<T> =>
  context.services.audit.inTurn(signedIn(context).user.id, async () => {
    assertAwaited(context)
    return read()
  })

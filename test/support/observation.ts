import { AsyncLocalStorage } from 'node:async_hooks'
import { Server } from 'node:http'
import pg from 'pg'
import { Piscina } from 'piscina'
import { onTestFinished, vi } from 'vitest'

/** What a request makes the server do before it answers. */
export interface Work {
  /** The statements, in their order, without their values. */
  statements: string[]
  /** How many tasks the threads got: passwords to hash, to check, and to judge. */
  tasks: number
}

/** Requests with this header are observed. */
const HEADER = 'x-observed'
export const OBSERVED = { [HEADER]: 'yes' }
/** What follows the audit log is woken by every event, and works for itself. */
const FEED = /seal_audit_events|FROM audit_events/

/** Until the test ends, counts the work of every request that is sent with OBSERVED. The latest comes last. */
export function observeRequests(): Work[] {
  const observed: Work[] = []
  const current = new AsyncLocalStorage<Work>()
  const { emit } = Server.prototype
  const { query } = pg.Client.prototype
  const { run } = Piscina.prototype
  const spies = [
    vi.spyOn(Server.prototype, 'emit').mockImplementation(function (this: Server, ...args: unknown[]) {
      const proceed = () => Reflect.apply(emit, this, args)
      const [event, request] = args as [string, { headers?: Record<string, string> }]
      if (event !== 'request' || !request.headers?.[HEADER]) return proceed()
      const work: Work = { statements: [], tasks: 0 }
      observed.push(work)
      return current.run(work, proceed)
    }),
    vi.spyOn(pg.Client.prototype, 'query').mockImplementation(function (this: pg.Client, ...args: unknown[]) {
      const [first] = args as [string | { text: string }]
      const text = typeof first === 'string' ? first : first.text
      if (!FEED.test(text)) current.getStore()?.statements.push(text)
      return Reflect.apply(query, this, args)
    } as typeof query),
    vi.spyOn(Piscina.prototype, 'run').mockImplementation(function (this: Piscina, ...args: unknown[]) {
      const work = current.getStore()
      if (work) work.tasks += 1
      return Reflect.apply(run, this, args)
    }),
  ]
  onTestFinished(() => {
    for (const spy of spies) spy.mockRestore()
  })
  return observed
}

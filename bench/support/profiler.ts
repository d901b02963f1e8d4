import { once } from 'node:events'
import { WebSocket } from 'ws'

export interface Profile {
  nodes: ProfileNode[]
  samples: number[]
  timeDeltas: number[]
}
export interface ProfileNode {
  id: number
  callFrame: { functionName: string; url: string; lineNumber: number; columnNumber: number }
  children?: number[]
}

const INTERVAL_MICROSECONDS = 250

/** Profiles the main thread of a process with an inspector while some work goes on, and nothing before or after it. */
export async function profileDuring(inspectorPort: number, work: () => Promise<unknown>): Promise<Profile> {
  const [target] = (await (await fetch(`http://127.0.0.1:${inspectorPort}/json`)).json()) as {
    webSocketDebuggerUrl: string
  }[]
  if (!target) throw new Error('The server has no inspector')
  const socket = new WebSocket(target.webSocketDebuggerUrl, { perMessageDeflate: false, maxPayload: 2 ** 30 })
  await once(socket, 'open')
  let last = 0
  const call = <Result>(method: string, params = {}) =>
    new Promise<Result>((resolve, reject) => {
      last += 1
      const id = last
      const onMessage = (data: Buffer) => {
        const message = JSON.parse(data.toString()) as { id?: number; result: Result; error?: { message: string } }
        if (message.id !== id) return
        socket.off('message', onMessage)
        if (message.error) reject(new Error(message.error.message))
        else resolve(message.result)
      }
      socket.on('message', onMessage)
      socket.send(JSON.stringify({ id, method, params }))
    })
  await call('Profiler.enable')
  await call('Profiler.setSamplingInterval', { interval: INTERVAL_MICROSECONDS })
  await call('Profiler.start')
  await work()
  const { profile } = await call<{ profile: Profile }>('Profiler.stop')
  socket.close()
  return profile
}

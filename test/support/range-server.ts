import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll } from 'vitest'

export interface RangeServer {
  /** For BREACH_CHECK_URL. */
  url: string
  /** What is known from a breach. */
  breached: Set<string>
  /** Silent: it takes requests, and never answers them. */
  isSilent: boolean
}

const sha1 = (text: string) => createHash('sha1').update(text).digest('hex').toUpperCase()

/** A breach service on this machine: the same k-anonymity range API. It ends with the file. */
export async function startRangeServer(): Promise<RangeServer> {
  const state: RangeServer = { url: '', breached: new Set(), isSilent: false }
  const server = createServer((request, response) => {
    if (state.isSilent) return
    const prefix = request.url?.split('/').at(-1) ?? ''
    const hashes = [...state.breached].map(sha1).filter((hash) => hash.startsWith(prefix))
    response.end(hashes.map((hash) => `${hash.slice(5)}:42`).join('\r\n'))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  afterAll(() => {
    server.closeAllConnections()
    server.close()
  })
  state.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/range/`
  return state
}

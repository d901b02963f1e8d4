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
  /** It takes requests, and answers them when it is silent no longer. */
  silence(isSilent: boolean): void
}

const sha1 = (text: string) => createHash('sha1').update(text).digest('hex').toUpperCase()

/** A breach service on this machine: the same k-anonymity range API. It ends with the file. */
export async function startRangeServer(): Promise<RangeServer> {
  const breached = new Set<string>()
  let held: (() => void)[] | null = null
  const server = createServer((request, response) => {
    const answer = () => {
      const prefix = request.url?.split('/').at(-1) ?? ''
      const hashes = [...breached].map(sha1).filter((hash) => hash.startsWith(prefix))
      response.end(hashes.map((hash) => `${hash.slice(5)}:42`).join('\r\n'))
    }
    if (held) held.push(answer)
    else answer()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  afterAll(() => {
    server.closeAllConnections()
    server.close()
  })
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/range/`,
    breached,
    silence(isSilent) {
      for (const answer of held ?? []) answer()
      held = isSilent ? [] : null
    },
  }
}

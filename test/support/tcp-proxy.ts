import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type NetConnectOpts, type Socket } from 'node:net'
import { onTestFinished } from 'vitest'

export interface TcpProxy {
  port: number
  /** Nothing gets through, and what was open breaks. */
  cut(): void
  restore(): void
  /** How many have tried to get through in vain. */
  refused(): number
  /** All that the server has said. */
  heard(): string
  /** What is open stays so, and carries nothing more; what is opened from now on does. */
  silence(): void
}

/** A way to a server that can be cut without harm to those who take another. It ends with the test. */
export async function startTcpProxy(target: NetConnectOpts): Promise<TcpProxy> {
  const sockets = new Set<Socket>()
  const silent = new Set<Socket>()
  let isCut = false
  let refused = 0
  let heard = ''
  const server = createServer((incoming) => {
    if (isCut) {
      refused += 1
      return void incoming.destroy()
    }
    const outgoing = connect(target).on('data', (chunk) => {
      heard += chunk
    })
    for (const [socket, other] of [
      [incoming, outgoing],
      [outgoing, incoming],
    ] as const) {
      sockets.add(socket)
      socket.on('data', (chunk) => silent.has(socket) || other.write(chunk))
      socket.on('end', () => silent.has(socket) || other.end())
      socket.on('error', () => {})
      socket.on('close', () => {
        sockets.delete(socket)
        if (!silent.delete(socket)) other.destroy()
      })
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const cut = () => {
    isCut = true
    for (const socket of sockets) socket.destroy()
  }
  onTestFinished(() => {
    cut()
    server.close()
  })
  return {
    port: (server.address() as AddressInfo).port,
    cut,
    refused: () => refused,
    heard: () => heard,
    restore: () => {
      isCut = false
    },
    silence: () => {
      for (const socket of sockets) silent.add(socket)
    },
  }
}

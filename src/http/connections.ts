import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Log } from '../ports.js'

/** So much may wait for one client without a second look. */
const UNSUSPICIOUS = 64 * 1024
/** So many responses may wait behind another one; no client that is well sends so many requests ahead. */
const MAX_QUEUED = 32

export interface Connections {
  /** Takes a new connection, unless it is gone already. */
  open(socket: Socket): void
  /** Takes a request. False: its connection is, or is now, closed, and nobody hears an answer. */
  begin(response: ServerResponse): boolean
  /** Looks at what a client has left unread. Past what may wait for all, whoever has left most of it is cut off. */
  shed(socket: Socket): void
  /** Closes those that have not asked for anything. */
  closeSilent(): void
}

/** The connections of the server, and what waits in memory for their clients. */
export function createConnections(maxUnreadBytes: number, log: Log): Connections {
  /** Each with its responses that wait behind another one. */
  const all = new Map<Socket, Set<ServerResponse>>()

  const unreadOf = (socket: Socket): number => {
    let bytes = socket.writableLength
    for (const response of all.get(socket) ?? []) if (!response.socket) bytes += response.writableLength
    return bytes
  }

  return {
    open(socket) {
      // One that was cut off before anything was read has no address any more, which limits and the log need.
      if (!socket.remoteAddress) return void socket.destroy()
      const queued = new Set<ServerResponse>()
      all.set(socket, queued)
      socket.once('close', () => {
        all.delete(socket)
        // Node says so only to the one whose turn it was.
        for (const response of queued) if (!response.socket) response.destroy().emit('close')
      })
    },

    begin(response) {
      const { socket } = response.req
      const queued = all.get(socket)
      // What came in one piece is read to its end, also when the connection was closed in the midst of it.
      if (!queued || socket.destroyed) return false
      if (response.socket) return true
      queued.add(response)
      response.once('close', () => queued.delete(response))
      if (queued.size > MAX_QUEUED) socket.destroy()
      return !socket.destroyed
    },

    shed(socket) {
      if (unreadOf(socket) < UNSUSPICIOUS) return
      let unread = 0
      let most = { socket, bytes: 0 }
      for (const one of all.keys()) {
        const bytes = unreadOf(one)
        unread += bytes
        if (bytes > most.bytes) most = { socket: one, bytes }
      }
      if (unread <= maxUnreadBytes) return
      const { remoteAddress: address } = most.socket
      log.warn(
        { address, bytes: most.bytes, unread },
        'Too much waits for clients that do not read: one of them was cut off',
      )
      most.socket.destroy()
    },

    closeSilent() {
      for (const socket of all.keys()) if (socket.bytesRead === 0) socket.destroy()
    },
  }
}

import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Log } from '../ports.js'

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

interface Waiting {
  /** The responses that wait behind another one. */
  queued: Set<ServerResponse>
  /** How much its client had left unread at the last look. */
  unread: number
}

/** The connections of the server, and what waits in memory for their clients. */
export function createConnections(maxUnreadBytes: number, log: Log): Connections {
  const all = new Map<Socket, Waiting>()
  /** Of all, each as of its last look: also what is little for each counts. */
  let unread = 0

  function look(socket: Socket, waiting: Waiting): number {
    let bytes = socket.writableLength
    for (const response of waiting.queued) if (!response.socket) bytes += response.writableLength
    unread += bytes - waiting.unread
    waiting.unread = bytes
    return bytes
  }

  return {
    open(socket) {
      // One that was cut off before anything was read has no address any more, which limits and the log need.
      if (!socket.remoteAddress) return void socket.destroy()
      const queued = new Set<ServerResponse>()
      const waiting = { queued, unread: 0 }
      all.set(socket, waiting)
      socket.once('close', () => {
        all.delete(socket)
        unread -= waiting.unread
        // Node says so only to the one whose turn it was.
        for (const response of queued) if (!response.socket) response.destroy().emit('close')
      })
    },

    begin(response) {
      const { socket } = response.req
      const queued = all.get(socket)?.queued
      // What came in one piece is read to its end, also when the connection was closed in the midst of it.
      if (!queued || socket.destroyed) return false
      if (response.socket) return true
      queued.add(response)
      response.once('close', () => queued.delete(response))
      if (queued.size > MAX_QUEUED) socket.destroy()
      return !socket.destroyed
    },

    shed(socket) {
      const own = all.get(socket)
      if (own) look(socket, own)
      if (unread <= maxUnreadBytes) return
      // Much of it may have been read meanwhile.
      let most = { socket, bytes: 0 }
      for (const [one, waiting] of all) {
        const bytes = look(one, waiting)
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

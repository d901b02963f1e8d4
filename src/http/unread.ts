import type { Socket } from 'node:net'
import type { Log } from '../ports.js'

/** So much may wait for one client without a second look: an answer that the system has not taken yet. */
const MAX_UNREAD = 1024 * 1024
/** So much for all of them together. */
const MAX_ALL_UNREAD = 128 * 1024 * 1024

export interface Unread {
  /** Counts the connection until it is closed. */
  watch(socket: Socket): void
  /** Cuts the connection off when `bytes`, which wait for it, are much, and all together are more than may wait. */
  shed(socket: Socket, bytes: number): void
}

/** Bounds what waits in memory for clients that do not read: who leaves much unread gives way, not the server. */
export function createUnread(log: Log): Unread {
  const sockets = new Set<Socket>()
  return {
    watch(socket) {
      sockets.add(socket)
      socket.once('close', () => sockets.delete(socket))
    },
    shed(socket, bytes) {
      if (bytes < MAX_UNREAD) return
      let all = 0
      for (const { writableLength } of sockets) all += writableLength
      if (all <= MAX_ALL_UNREAD) return
      log.warn({ bytes, all }, 'Too much waits for clients that do not read: one of them was cut off')
      socket.destroy()
    },
  }
}

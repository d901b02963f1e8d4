import { randomUUID } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { setImmediate as letOthers } from 'node:timers/promises'
import type { Log } from '../ports.js'
import { bareAnswer } from './headers.js'
import { MAX_CRUMBS } from './request.js'

/** So long is what a client still sends read, and thrown away, after the last answer. */
const LINGER_MS = 2_000
const closing = new WeakSet<Socket>()

/**
 * Closes a connection as RFC 9112 section 9.6 says: while a client is still sending, closing at once would reset the
 * connection, and the answer would be lost on the way; a proxy may then take the server for broken.
 */
export function linger(socket: Socket): void {
  if (socket.destroyed || closing.has(socket)) return
  closing.add(socket)
  // Nothing of it is read as requests: they would pile up unanswered, and to give them all up in the end takes seconds.
  socket.removeAllListeners('data').on('data', () => undefined)
  socket.end()
  socket.resume()
  const timer = setTimeout(() => socket.destroy(), LINGER_MS)
  socket.once('close', () => clearTimeout(timer))
}

/** As Node answers them. */
const UNREADABLE: Readonly<Record<string, string>> = {
  HPE_HEADER_OVERFLOW: '431 Request Header Fields Too Large',
  HPE_CHUNK_EXTENSIONS_OVERFLOW: '413 Payload Too Large',
  ERR_HTTP_REQUEST_TIMEOUT: '408 Request Timeout',
}

/** So many requests may wait for the answer to another one; no client that is well sends so many ahead. */
const MAX_QUEUED = 32

export interface Connections {
  /** Takes a new connection, unless it is gone already. */
  open(socket: Socket): void
  /**
   * Takes a request; resolves when all before it on its connection were answered, and with what others have sent read in
   * between. False: the connection is closed, and nobody hears an answer. Never, where it is closed meanwhile.
   */
  begin(response: ServerResponse): Promise<boolean>
  /** Whether a request of it has no whole answer yet. */
  isAnswering(socket: Socket): boolean
  /** Refuses what is no request. */
  refuse(error: NodeJS.ErrnoException, socket: Socket): void
  /** Looks at what a client has left unread. Past what may wait for all, whoever has left most of it is cut off. */
  shed(socket: Socket): void
  /** Closes those that have not asked for anything. */
  closeSilent(): void
  /** Whether a client has not read all that was sent to it yet, or still sends after its last answer. */
  isBeingRead(): boolean
}

interface Deps {
  /** What may wait for all clients together. */
  maxUnreadBytes: number
  /** Those that every response carries. */
  headers: readonly string[]
  log: Log
}

interface Waiting {
  /** How many requests wait for the answer to another one. */
  queued: number
  /** How many small pieces of bodies have come while there was always one that waits. */
  crumbs: number
  last?: ServerResponse
  /** How much its client had left unread at the last look. */
  unread: number
}

/** The connections of the server, and what waits in memory for their clients. */
export function createConnections({ maxUnreadBytes, headers, log }: Deps): Connections {
  const all = new Map<Socket, Waiting>()
  /** Of all, each as of its last look: also what is little for each counts. */
  let unread = 0

  function look(socket: Socket, waiting: Waiting): number {
    const bytes = socket.writableLength
    unread += bytes - waiting.unread
    waiting.unread = bytes
    return bytes
  }

  const isAnswering = (socket: Socket) => all.get(socket)?.last?.writableFinished === false

  return {
    open(socket) {
      // One that was cut off before anything was read has no address any more, which limits and the log need.
      if (!socket.remoteAddress) return void socket.destroy()
      // What Node calls when the last answer was sent.
      socket.destroySoon = () => linger(socket)
      const waiting: Waiting = { queued: 0, crumbs: 0, unread: 0 }
      all.set(socket, waiting)
      socket.once('close', () => {
        all.delete(socket)
        unread -= waiting.unread
      })
    },

    async begin(response) {
      const { socket } = response.req
      const waiting = all.get(socket)
      // What came in one piece is read to its end, also when the connection was closed in the midst of it.
      if (!waiting || socket.destroyed || closing.has(socket)) return false
      waiting.last = response
      // An idle connection holds nothing of its last request.
      response.once('close', () => {
        if (waiting.last === response) delete waiting.last
      })
      if (response.socket) return true
      waiting.queued += 1
      if (waiting.queued > MAX_QUEUED) socket.destroy()
      const count = () => {
        waiting.crumbs += 1
        if (waiting.crumbs > MAX_CRUMBS) socket.destroy()
      }
      response.req.on('crumb', count)
      // Node gives it the connection when it is its turn.
      await new Promise((resolve) => response.once('socket', resolve))
      response.req.off('crumb', count)
      waiting.queued -= 1
      if (waiting.queued === 0) waiting.crumbs = 0
      await letOthers()
      return !socket.destroyed && !closing.has(socket)
    },

    isAnswering,

    refuse(error, socket) {
      if (closing.has(socket)) return
      const { last, queued } = all.get(socket) ?? {}
      const isBegun = isAnswering(socket) && last?.headersSent
      if (!socket.writable || error.code === 'ECONNRESET' || queued || isBegun) return void socket.destroy()
      const status = UNREADABLE[error.code ?? ''] ?? '400 Bad Request'
      socket.write(bareAnswer(status, [...headers, 'x-request-id', randomUUID()]))
      if (isAnswering(socket)) socket.destroy()
      else linger(socket)
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

    isBeingRead: () => [...all.keys()].some((socket) => socket.writableLength > 0 || closing.has(socket)),
  }
}

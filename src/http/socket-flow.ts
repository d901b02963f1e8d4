// Between a WebSocket and its client: what is sent, and how far is read.
import type { Duplex } from 'node:stream'
import type { WebSocket } from 'ws'

const PAUSE_AT_BYTES = 1024 * 1024

/** Reads on only when the client has read what waits for it: otherwise answers would pile up here for one that never does. */
export function readNoFasterThanRead(opened: WebSocket, socket: Duplex): void {
  let isWaiting = false
  const look = () => {
    if (isWaiting || socket.writableLength < PAUSE_AT_BYTES) return
    isWaiting = true
    opened.pause()
    socket.once('drain', () => {
      isWaiting = false
      opened.resume()
    })
  }
  opened.on('message', look)
  opened.on('ping', look)
}

/** Whoever is gone reads no answer: that its connection is closed says so, and graphql-ws would print it, past the log. */
export function sendInVain(opened: WebSocket): void {
  const send = opened.send.bind(opened) as (data: string, sent: () => void) => void
  opened.send = ((data: string, sent: () => void) => send(data, () => sent())) as WebSocket['send']
}

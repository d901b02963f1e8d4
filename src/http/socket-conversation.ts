// Between a WebSocket and the protocol that is spoken over it: what comes in, what goes out, and how far is read.
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { Server as Protocol } from 'graphql-ws'
import { CloseCode } from 'graphql-ws'
import type { WebSocket } from 'ws'
import type { Log } from '../ports.js'
import type { Client } from '../services/client.js'
import type { Connections } from './connections.js'
import type { Graphql } from './graphql.js'
import type { ErrorMasker } from './graphql-errors.js'
import { LONG_TEXT } from './reading-turns.js'

export interface Extra {
  socket: WebSocket
  request: IncomingMessage
}

interface Deps {
  log: Log
  maskError: ErrorMasker
  connections: Connections
  readClient: (request: IncomingMessage) => Client
  graphql: Pick<Graphql, 'takeMessageTurn'>
}

const PING_MS = 15_000
/** So much may wait to be read by a client before nothing more is read from it. Each send costs more than its bytes. */
const MAX_BYTES = 64 * 1024
const MAX_SENDS = 100
/** So many messages may come meanwhile, of what had arrived before. */
const MAX_HELD = 1000
const PONG = JSON.stringify({ type: 'pong' })

/** What graphql-ws throws at a message that only servers send. */
const UNEXPECTED = /Unexpected message of type/
const UNSUPPORTED_DATA = 1003
const TRY_AGAIN_LATER = 1013

/**
 * What is sent to a client, which may not read it. Nothing more is read from it meanwhile, or answers would pile up here.
 * Whoever is gone reads no answer: that a send was in vain, its closed connection says.
 */
function createFlow({ socket, request }: Extra, { shed }: Connections, takeTurn: (length: number) => Promise<void>) {
  let sends = 0
  let isWaiting = false
  const held: (() => void)[] = []
  const isFull = () => isWaiting || sends >= MAX_SENDS || request.socket.writableLength >= MAX_BYTES

  function goOn(): void {
    if (isFull()) return
    for (const next of held.splice(0)) next()
    socket.resume()
  }

  function begin(): () => void {
    sends += 1
    return () => {
      sends -= 1
      goOn()
    }
  }

  /** Has a long text wait for its turn, and what comes behind it for the text. */
  async function inTurn(length: number, read: () => Promise<void>): Promise<void> {
    isWaiting = true
    let reading: Promise<void> | undefined
    try {
      await takeTurn(length)
      reading = read()
    } finally {
      isWaiting = false
      goOn()
    }
    await reading
  }
  return {
    send: (text: string) =>
      new Promise<void>((resolve) => {
        if (socket.readyState !== socket.OPEN) return resolve()
        const end = begin()
        socket.send(text, () => {
          end()
          resolve()
        })
        shed(request.socket)
      }),

    /** To whoever does not read, nothing has to be proven. */
    pong(data: Buffer): void {
      if (socket.readyState !== socket.OPEN) return
      if (isFull()) socket.pause()
      else socket.pong(data, false, begin())
      shed(request.socket)
    },

    /**
     * Takes a text when there is room for an answer. Only now is nothing more read: of who asks for nothing, and takes long
     * over a long answer, the pongs are to be heard.
     */
    async take(text: string, read: (text: string) => Promise<void>): Promise<void> {
      while (isFull() && socket.readyState === socket.OPEN) {
        socket.pause()
        if (held.length >= MAX_HELD) socket.terminate()
        else await new Promise<void>((resolve) => void held.push(resolve))
      }
      const ifOpen = async () => {
        if (socket.readyState === socket.OPEN) await read(text)
      }
      await (text.length > LONG_TEXT ? inTurn(text.length, ifOpen) : ifOpen())
    },
  }
}

/** Ends the connection of a client that no longer answers. */
function keepAlive(socket: WebSocket, connection: Socket): void {
  let isAnswering = true
  let backlog = { waiting: 0, taken: 0 }
  const pings = setInterval(() => {
    const waiting = connection.writableLength
    const taken = connection.bytesWritten - waiting
    // Its pongs may stand behind what is not read from it, because it has not read what was sent.
    const isReading = backlog.waiting > 0 && taken > backlog.taken
    backlog = { waiting, taken }
    if (!isAnswering && !isReading) return socket.terminate()
    isAnswering = false
    socket.ping()
  }, PING_MS)
  socket.on('pong', () => {
    isAnswering = true
  })
  socket.once('close', () => clearInterval(pings))
}

/** Speaks the protocol over one WebSocket, until either side closes it. */
export function converse<E extends Extra>(protocol: Protocol<E>, extra: E, deps: Deps): void {
  const { log, maskError, connections, readClient, graphql } = deps
  const { socket } = extra
  const { addressKey } = readClient(extra.request)
  const flow = createFlow(extra, connections, (length) => graphql.takeMessageTurn(addressKey, length))
  keepAlive(socket, extra.request.socket)
  socket.on('ping', flow.pong)
  // ws has closed the connection of whoever sends what is no frame.
  socket.on('error', ({ message }) => log.debug({ reason: message }, 'A WebSocket sent what is no message'))

  /** What an error would be for a request; clients come again after 1013. */
  function fail(error: unknown): void {
    if (UNEXPECTED.test(String(error))) socket.close(CloseCode.BadRequest, 'Invalid message received')
    else if (maskError(error).extensions.code === 'SERVICE_UNAVAILABLE') {
      log.warn({ err: error }, 'A WebSocket was turned away')
      socket.close(TRY_AGAIN_LATER, 'Try again later')
    } else {
      log.error({ err: error }, 'A message over a WebSocket failed')
      socket.close(CloseCode.InternalServerError, 'Internal server error')
    }
  }

  const listen = (take: (text: string) => Promise<void>) => {
    socket.on('message', async (data: Buffer, isBinary) => {
      // Only of texts it was looked at whether they are UTF-8.
      if (isBinary) return socket.close(UNSUPPORTED_DATA, 'Send text')
      await flow.take(data.toString(), take).catch(fail)
    })
  }

  const closed = protocol.opened(
    {
      protocol: socket.protocol,
      send: flow.send,
      // The reason may name an id, which is the client's; it may have 123 bytes.
      close: (code, reason) => socket.close(code, reason?.slice(0, 40)),
      onMessage: listen,
      // Without what the ping said, which may be long, or deep.
      onPing: () => flow.send(PONG),
    },
    extra,
  )
  socket.once('close', (code, reason) => void closed(code, reason.toString()).catch(fail))
}

import { EventEmitter } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { makeServer } from 'graphql-ws'
import { expect, test } from 'vitest'
import type { WebSocket } from 'ws'
import type { Connections } from '../../src/http/connections.js'
import { converse } from '../../src/http/socket-conversation.js'
import { createTestLog } from '../support/log.js'

/** A WebSocket whose client reads when it is told to. */
class SlowSocket extends EventEmitter {
  readonly OPEN = 1
  readyState = 1
  protocol = 'graphql-transport-ws'
  isPaused = false
  unread: (() => void)[] = []
  pause = () => {
    this.isPaused = true
  }
  resume = () => {
    this.isPaused = false
  }
  send = (_text: string, sent: () => void) => void this.unread.push(sent)
  pong = (_data: Buffer, _mask: boolean, sent: () => void) => void this.unread.push(sent)
  close = () => this.terminate()
  terminate = () => {
    this.readyState = 3
    this.emit('close', 1006, Buffer.from(''))
  }
  read = () => {
    for (const sent of this.unread.splice(0)) sent()
  }
}

function begin() {
  const socket = new SlowSocket()
  const shed: unknown[] = []
  converse(
    makeServer({ connectionInitWaitTimeout: 0 }),
    {
      socket: socket as unknown as WebSocket,
      request: { socket: { writableLength: 0 } } as unknown as IncomingMessage,
    },
    {
      log: createTestLog(),
      maskError: (error) => error as never,
      connections: { shed: (one: unknown) => shed.push(one) } as unknown as Connections,
    },
  )
  const ask = async (times: number) => {
    for (let time = 0; time < times; time += 1) {
      socket.emit('message', Buffer.from('{"type":"ping"}'), false)
      // As ws does: others have their turn in between.
      await new Promise(setImmediate)
    }
  }
  return { socket, shed, ask }
}

test('a client that reads nothing is read no further after a hundred answers, however short; then it goes on', async () => {
  const { socket, ask, shed } = begin()
  await ask(100)
  // Its pongs are heard, while it asks for nothing more.
  expect(socket.isPaused).toBe(false)
  await ask(50)
  expect([socket.unread.length, socket.isPaused]).toEqual([100, true])
  // Each is looked at by what bounds the unread of all clients.
  expect(shed).toHaveLength(100)
  socket.read()
  await new Promise(setImmediate)
  expect([socket.unread.length, socket.isPaused]).toEqual([50, false])
})

test('pongs of the WebSocket count as well, and are left out where they would only wait', () => {
  const { socket } = begin()
  for (let time = 0; time < 150; time += 1) socket.emit('ping', Buffer.from('x'))
  expect([socket.unread.length, socket.isPaused]).toEqual([100, true])
})

test('a client of which a thousand messages wait is cut off', async () => {
  const { socket, ask } = begin()
  await ask(1100)
  expect([socket.unread.length, socket.readyState]).toEqual([100, socket.OPEN])
  await ask(1)
  expect(socket.readyState).not.toBe(socket.OPEN)
})

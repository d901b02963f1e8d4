import { EventEmitter } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { GraphQLError } from 'graphql'
import { makeServer, type ServerOptions } from 'graphql-ws'
import { expect, onTestFinished, test, vi } from 'vitest'
import type { WebSocket } from 'ws'
import { type DomainError, ServiceUnavailableError } from '../../src/errors.js'
import type { Connections } from '../../src/http/connections.js'
import { converse } from '../../src/http/socket-conversation.js'
import type { Client } from '../../src/services/client.js'
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
  /** Of the connection below. */
  readonly connection = { writableLength: 0, bytesWritten: 0 }
  send = (_text: string, sent: () => void) => void this.unread.push(sent)
  ping = () => {
    this.connection.bytesWritten += 2
  }
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

function begin(options: Partial<ServerOptions> = {}, takeTurn = async () => {}) {
  const socket = new SlowSocket()
  const shed: unknown[] = []
  converse(
    makeServer({ connectionInitWaitTimeout: 0, ...options }),
    {
      socket: socket as unknown as WebSocket,
      request: { socket: socket.connection } as unknown as IncomingMessage,
    },
    {
      log: createTestLog(),
      maskError: (error) => ({ extensions: { code: (error as DomainError).code } }) as never,
      connections: { shed: (one: unknown) => shed.push(one) } as unknown as Connections,
      readClient: () => ({ addressKey: '192.0.2.1' }) as Client,
      graphql: { takeMessageTurn: takeTurn },
    },
  )
  const ask = async (times: number, type = 'ping', more = {}) => {
    for (let time = 0; time < times; time += 1) {
      socket.emit('message', Buffer.from(JSON.stringify({ type, ...more })), false)
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
  const { socket, shed } = begin()
  for (let time = 0; time < 150; time += 1) socket.emit('ping', Buffer.from('x'))
  expect([socket.unread.length, socket.isPaused]).toEqual([100, true])
  expect(shed).toHaveLength(150)
})

test('a client that leaves 64 KB unread is read no further, however few the answers, until there is less', async () => {
  const { socket, ask } = begin()
  socket.connection.writableLength = 64 * 1024 - 1
  await ask(1)
  expect([socket.unread.length, socket.isPaused]).toEqual([1, false])
  socket.connection.writableLength += 1
  await ask(1)
  expect([socket.unread.length, socket.isPaused]).toEqual([1, true])
  socket.read()
  expect(socket.isPaused).toBe(true)
})

test('nothing is done any more of what waited when the client is gone', async () => {
  const onConnect = vi.fn(() => true)
  const { socket, ask } = begin({ onConnect })
  await ask(100)
  await ask(1, 'connection_init')
  socket.terminate()
  socket.read()
  await new Promise(setImmediate)
  expect(onConnect).not.toHaveBeenCalled()
})

/** Long enough to wait for a turn. */
const long = (id: string) => ({ id, payload: { query: '{ me { id } }', variables: { text: 'x'.repeat(20_000) } } })
const short = (id: string) => ({ id, payload: { query: '{ me { id } }' } })

test('what comes behind a long message waits with it for its turn, in order, and nothing more is read meanwhile', async () => {
  const order: string[] = []
  const turns: (() => void)[] = []
  const onSubscribe = (_: unknown, id: string) => {
    order.push(id)
    return [new GraphQLError('Refused')]
  }
  const { socket, ask } = begin({ onSubscribe }, () => new Promise((resolve) => void turns.push(resolve)))
  await ask(1, 'connection_init')
  await ask(1, 'subscribe', short('first'))
  for (const id of ['second', 'fourth']) {
    await ask(1, 'subscribe', long(id))
    await ask(1, 'subscribe', short(`behind ${id}`))
  }
  expect([order, socket.isPaused]).toEqual([['first'], true])
  turns.shift()?.()
  await new Promise(setImmediate)
  expect([order, socket.isPaused]).toEqual([['first', 'second', 'behind second'], true])
  turns.shift()?.()
  await new Promise(setImmediate)
  expect(order).toEqual(['first', 'second', 'behind second', 'fourth', 'behind fourth'])
  expect([socket.isPaused, turns.length]).toEqual([false, 0])
})

test('who gets no turn for a long message is told to come back, and no more of his is taken', async () => {
  const onConnect = vi.fn(() => true)
  const { socket, ask } = begin({ onConnect }, async () => Promise.reject(new ServiceUnavailableError('Too many wait')))
  const close = vi.fn(() => socket.terminate())
  socket.close = close
  await ask(1, 'ping', { payload: { text: 'x'.repeat(20_000) } })
  await ask(1, 'connection_init')
  expect(close.mock.calls).toEqual([[1013, 'Try again later']])
  expect(onConnect).not.toHaveBeenCalled()
})

function beginWithClock() {
  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
  const { socket } = begin()
  /** Until the next ping. Says whether the connection is still open. */
  const next = () => {
    vi.advanceTimersByTime(15_000)
    return socket.readyState === socket.OPEN
  }
  return { socket, next }
}

test('a client that has not answered a ping when the next one is due is cut off', () => {
  const { socket, next } = beginWithClock()
  expect(next()).toBe(true)
  socket.emit('pong')
  expect(next()).toBe(true)
  expect(next()).toBe(false)
  expect(vi.getTimerCount()).toBe(0)
})

test('but not while it takes what waits for it, behind which its pongs may stand', () => {
  const { socket, next } = beginWithClock()
  socket.connection.writableLength = 1000
  expect(next()).toBe(true)
  socket.connection.writableLength = 500
  expect(next()).toBe(true)
  socket.connection.writableLength += 2
  expect(next()).toBe(false)
})

test('a client of which a thousand messages wait is cut off', async () => {
  const { socket, ask } = begin()
  await ask(1100)
  expect([socket.unread.length, socket.readyState]).toEqual([100, socket.OPEN])
  await ask(1)
  expect(socket.readyState).not.toBe(socket.OPEN)
})

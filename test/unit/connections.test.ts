import { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'
import { expect, test } from 'vitest'
import { createConnections, linger } from '../../src/http/connections.js'
import { createTestLog } from '../support/log.js'

/** A client that reads when it is told to. */
class Peer extends EventEmitter {
  readonly remoteAddress = '203.0.113.1'
  readonly bytesRead = 1
  destroyed = false
  writableLength = 0
  end = () => this
  resume = () => this
  destroy = () => {
    this.destroyed = true
    this.emit('close')
  }
}

function openAll(count: number, maxUnreadBytes: number) {
  const connections = createConnections({ maxUnreadBytes, headers: [], log: createTestLog() })
  const peers = Array.from({ length: count }, () => new Peer())
  for (const peer of peers) connections.open(peer as unknown as Socket)
  /** Something is sent, and so much waits then. */
  const leave = (peer: Peer | undefined, bytes: number) => {
    if (peer) peer.writableLength = bytes
    connections.shed(peer as unknown as Socket)
  }
  return { connections, peers, leave, cutOff: () => peers.map(({ destroyed }) => destroyed) }
}

test('When too much waits, who has left most of it is cut off, and not who came last', () => {
  const { peers, leave, cutOff } = openAll(3, 100)
  for (const [index, bytes] of [10, 80, 30].entries()) leave(peers[index], bytes)
  expect(cutOff()).toEqual([false, true, false])
  leave(peers[2], 90)
  expect(cutOff()).toEqual([false, true, false])
  leave(peers[0], 11)
  expect(cutOff()).toEqual([false, true, true])
})

test('Nobody is cut off for what was read since the last look', () => {
  const { peers, leave, cutOff } = openAll(2, 100)
  const [first, second] = peers
  leave(first, 80)
  if (first) first.writableLength = 0
  leave(second, 60)
  expect(cutOff()).toEqual([false, false])
})

test('A client that still sends after its last answer is one that reads, until its connection is closed', () => {
  const { connections, peers } = openAll(2, 100)
  const [first] = peers
  expect(connections.isBeingRead()).toBe(false)
  linger(first as unknown as Socket)
  expect(connections.isBeingRead()).toBe(true)
  first?.destroy()
  expect(connections.isBeingRead()).toBe(false)
})

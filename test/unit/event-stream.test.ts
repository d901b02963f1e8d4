import { EventEmitter } from 'node:events'
import type { ServerResponse } from 'node:http'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { endTogether } from '../../src/http/event-stream.js'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

/** Results that never come, and a response that nobody reads. */
function begin(life: AbortSignal) {
  const socket = { destroy: vi.fn() }
  const response = Object.assign(new EventEmitter(), { closed: false, destroyed: false, req: { socket } })
  const end = vi.fn(async () => ({ done: true, value: undefined }))
  const results = { [Symbol.asyncIterator]: () => ({ next: () => new Promise<never>(() => {}), return: end }) }
  endTogether(results, response as unknown as ServerResponse, life)
  return { socket, response, end }
}

test.each(['before', 'after'])('A response that nobody reads is cut off when its life ends %s it begins', (when) => {
  const life = new AbortController()
  if (when === 'before') life.abort()
  const { socket } = begin(life.signal)
  life.abort()
  expect(socket.destroy).not.toHaveBeenCalled()
  vi.runAllTimers()
  expect(socket.destroy).toHaveBeenCalledTimes(1)
})

test('One that has ended in time is not: its connection may be used again', () => {
  const life = new AbortController()
  const { socket, response, end } = begin(life.signal)
  life.abort()
  response.emit('close')
  expect(end).toHaveBeenCalledTimes(1)
  vi.runAllTimers()
  expect(socket.destroy).not.toHaveBeenCalled()
})

import { setImmediate } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { createGate } from '../../src/http/gate.js'

test('What is said twice to have ended counts once', () => {
  const gate = createGate(2)
  const tickets = [gate.take(), gate.take()]
  for (let time = 1; time <= 2; time += 1) tickets[0]?.end()
  expect(gate.take()).not.toBeNull()
  expect(gate.isFull()).toBe(true)
  expect(gate.take()).toBeNull()
})

test('What was answered counts until what it has left behind has ended, be it by a failure', async () => {
  const gate = createGate(1)
  const ticket = gate.take()
  let fail = (_error: Error) => {}
  const work = new Promise<void>((_resolve, reject) => {
    fail = reject
  })
  ticket?.keepFor(work)
  ticket?.end()
  expect(gate.isFull()).toBe(true)
  const emptied = gate.emptied()
  fail(new Error('of this test'))
  await emptied
  expect(gate.isFull()).toBe(false)
})

test('Who waits until nothing is under way waits for the last of it, and for nothing where there is none', async () => {
  const gate = createGate(2)
  await gate.emptied()
  const tickets = [gate.take(), gate.take()]
  let isEmpty = false
  const emptied = gate.emptied().then(() => {
    isEmpty = true
  })
  tickets[0]?.end()
  await setImmediate()
  expect(isEmpty).toBe(false)
  tickets[1]?.end()
  await emptied
})

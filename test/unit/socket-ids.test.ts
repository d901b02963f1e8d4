import { expect, test } from 'vitest'
import { createIds } from '../../src/http/socket-ids.js'

test('An operation whose id was used again says nothing, also when the next one is through first', async () => {
  const ids = createIds()
  const first = ids.take('1')
  await ids.take('1').conclude('answer')
  expect(first.isReplaced()).toBe(true)
  expect(ids.take('1').isReplaced()).toBe(false)
})

test('An operation that ends once more does not end the next one of its id', () => {
  const ids = createIds()
  const first = ids.take('1')
  first.release()
  const next = ids.take('1')
  first.release()
  expect(first.isReplaced()).toBe(true)
  ids.take('1')
  expect(next.isReplaced()).toBe(true)
})

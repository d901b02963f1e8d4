import { expect, test } from 'vitest'
import { createTurns } from '../../src/services/turns.js'
import { deferred } from '../support/deferred.js'

test('What has the same key happens in turn, as many as may be; what fails keeps no other from its turn', async () => {
  const inTurn = createTurns(2)
  const first = deferred()
  const told: string[] = []
  const failing = inTurn('a', async (hasWaited) => {
    told.push(`first ${hasWaited}`)
    await first.promise
  })
  const second = inTurn('a', async (hasWaited) => void told.push(`second ${hasWaited}`))
  await expect(inTurn('a', async () => {})).rejects.toMatchObject({ code: 'SERVICE_UNAVAILABLE' })
  await inTurn('b', async (hasWaited) => void told.push(`other ${hasWaited}`))
  expect(told).toEqual(['first false', 'other false'])

  first.reject(new Error('of this test'))
  await expect(failing).rejects.toThrow('of this test')
  await second
  await inTurn('a', async (hasWaited) => void told.push(`later ${hasWaited}`))
  expect(told.slice(2)).toEqual(['second true', 'later false'])
})

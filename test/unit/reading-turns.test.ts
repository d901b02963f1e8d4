import { expect, test } from 'vitest'
import { createReadingTurns, READ_IN_ONE_GO } from '../../src/http/reading-turns.js'

/** Callers who ask for a turn at the same moment, and what became of each, in order. */
async function ask(takeTurn: (caller: string) => Promise<void>, callers: string): Promise<string[]> {
  // The turn before is over with its round of the event loop.
  await new Promise(setImmediate)
  const told: string[] = []
  const asking = [...callers].map((caller, index) =>
    takeTurn(caller).then(
      () => told.push(`${caller}${index}`),
      ({ code }) => told.push(`${caller}${index} ${code}`),
    ),
  )
  await Promise.all(asking)
  return told
}

test('callers take turns, whoever has asked for many', async () => {
  const takeTurn = createReadingTurns(100)
  expect(await ask(takeTurn, 'aaaabbc')).toEqual(['a0', 'a1', 'b4', 'c6', 'a2', 'b5', 'a3'])
})

test('what is short goes on together, until as much was read as may be in one go', async () => {
  const takeTurn = createReadingTurns(100)
  const told: string[] = []
  for (const [index, caller] of [...'aaabbcbb'].entries())
    void takeTurn(caller, READ_IN_ONE_GO / 3 + 1).then(() => told.push(`${caller}${index}`))
  await new Promise(process.nextTick)
  expect(told).toEqual(['a0', 'a1', 'a2'])
  await new Promise(setImmediate)
  expect(told.slice(3)).toEqual(['b3', 'c5', 'b4'])
  await new Promise(setImmediate)
  expect(told.slice(6)).toEqual(['b6', 'b7'])
})

test('past so many that wait, who has most of them is refused the last', async () => {
  const takeTurn = createReadingTurns(3)
  const refused = (told: string[]) => told.filter((one) => one.includes('SERVICE_UNAVAILABLE'))
  // The first one waits for nobody.
  expect(refused(await ask(takeTurn, 'aaaa'))).toEqual([])
  const told = await ask(takeTurn, 'aaaabc')
  expect(refused(told)).toEqual(['a3 SERVICE_UNAVAILABLE', 'a2 SERVICE_UNAVAILABLE'])
  expect(told.filter((one) => one.length === 2)).toEqual(['a0', 'a1', 'b4', 'c5'])
  // Among equals the last one; and there is as much room as before, however often that happens.
  for (let time = 0; time < 3; time += 1)
    expect(refused(await ask(takeTurn, 'abcdef'))).toEqual(['e4 SERVICE_UNAVAILABLE', 'f5 SERVICE_UNAVAILABLE'])
})

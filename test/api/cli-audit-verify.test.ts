import { expect, test } from 'vitest'
import { startApp } from '../support/app.js'
import { runCli } from '../support/cli.js'
import { openDatabase } from '../support/database.js'
import { eventually } from '../support/eventually.js'

const CHECKPOINTS = `SELECT count(*)::int FROM audit_checkpoints WHERE kind = 'CHECKPOINT'`

test('`audit verify` proves a range of the log, and refuses one that is not in it', async () => {
  const app = await startApp({ env: { AUDIT_CHECKPOINT_EVENTS: '10' } })
  const { query, tamper } = await openDatabase(app.installation)
  const env = { DATABASE_URL: app.installation.databaseUrl }
  const verify = (...args: string[]) => runCli(env, 'audit', 'verify', ...args)
  const refused = (stderr: string) => ({ code: 1, stdout: '', stderr: `${stderr}\n` })
  const untilSealed = () => eventually(async () => (await query('SELECT FROM audit_inbox')).rowCount).toBe(0)
  const positions = async () => {
    const { rows } = await query('SELECT min(position)::int AS first, max(position)::int AS last FROM audit_events')
    return rows[0]
  }

  expect(await verify('--from', '1')).toEqual(refused('There is no position 1: the log ends at 0'))
  app.clock.advance('-400d')
  await app.newUser()
  await untilSealed()
  app.clock.advance('400d')
  await app.operator.purge()
  for (let users = 0; users < 3; users += 1) await app.newUser()
  await untilSealed()
  const { first, last } = await positions()
  expect(first).toBeGreaterThan(1)

  const range = ['--from', `${last - 1}`, '--to', `${last}`]
  const proof = `Intact: 2 events, positions ${last - 1} to ${last}.\n`
  expect(await verify(...range)).toMatchObject({ code: 0, stdout: expect.stringContaining(proof), stderr: '' })
  expect(await verify('--from', '5', '--to', '2')).toEqual(refused('--from must not be after --to'))
  for (const from of [last + 1, 100_000])
    expect(await verify('--from', `${from}`)).toEqual(refused(`There is no position ${from}: the log ends at ${last}`))
  expect(await verify('--to', `${last + 1}`)).toEqual(
    refused(`There is no position ${last + 1}: the log ends at ${last}`),
  )
  const gone = `There is no position 1 any more: the log begins at ${first}`
  expect(await verify('--to', '1')).toEqual(refused(gone))

  // That the end was cut off is still found from behind it.
  await eventually(async () => (await query(CHECKPOINTS)).rows[0].count).toBeGreaterThan(0)
  await tamper('DELETE FROM audit_events WHERE position > $1', [first])
  const broken = { code: 1, stdout: expect.stringMatching(/^BROKEN at position \d+: The event is missing\./) }
  expect(await verify('--from', '100000')).toMatchObject(broken)
  app.log.hush(/tampered/)
})

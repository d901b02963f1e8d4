import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, describe, expect, test } from 'vitest'
import { PASSWORD, startApp } from '../support/app.js'
import { runCli, startCli } from '../support/cli.js'
import { lockDatabase } from '../support/database-lock.js'
import { createInstallation } from '../support/installation.js'

/** More than a page of the export, and more than a pipe holds. */
const COUNT = 2500
const SINCE = '2020-01-01'
const LATER_SINCE = '2019-01-01'
const LATER_UNTIL = '2019-01-02'
const AGENTS = ['=1+1', '+1', '-1', '@SUM(A1)', '\t=1', '\r=1', 'two\r\nlines', 'says "x", and', 'a\u009b31mred', null]
/** Formulas where a semicolon or a tab begins a cell, as in half of Europe. */
const LATER = ["a;=cmd|' /C calc'!A0;b", 'a;"=1;b', 'a\t＋1', 'X11; +http://bot.example', 'a;b=1;-']
const FIELDS = [
  ...['position', 'id', 'type', 'occurredAt', 'success', 'riskLevel', 'userId', 'sessionId', 'ipAddress', 'userAgent'],
  ...['city', 'country', 'correlationId', 'metadata'],
]

/** Events a minute apart, which no server has sealed. */
const INSERT = `
  INSERT INTO audit_inbox (type, occurred_at, success, risk_level, user_agent, metadata)
  SELECT 'LOGIN_FAILED', $1::timestamptz + i * interval '1 minute', false, 'MEDIUM', ($2::text[])[1 + i % 10], '{"reason": "=1"}'
  FROM generate_series(0, $3::int - 1) AS i`

const { databaseUrl, remove } = await createInstallation()
afterAll(remove)
const env = { DATABASE_URL: databaseUrl }
const client = new pg.Client(databaseUrl)
await client.connect()
await client.query(INSERT, [`${SINCE}T00:00:00Z`, AGENTS, COUNT])
await client.query(INSERT, [`${LATER_SINCE}T00:00:00Z`, [...LATER, ...LATER], LATER.length])
await client.end()
const folder = await mkdtemp(join(tmpdir(), 'portcullis-export-'))
afterAll(() => rm(folder, { recursive: true }))

const run = (...args: string[]) => runCli(env, 'audit', 'export', ...args)

function linesOf(text: string) {
  const lines = text.split('\n')
  expect(lines.pop()).toBe('')
  return lines.map((line) => JSON.parse(line))
}

/** The cells of a text in which all are quoted (RFC 4180). Throws where it is none. */
function cellsOf(text: string): string[][] {
  expect(text).toMatch(/^(("([^"]|"")*",)*"([^"]|"")*"\r\n)+$/)
  const rows: string[][] = [[]]
  for (const [, cell = '', end] of text.matchAll(/"((?:[^"]|"")*)"(,|\r\n)/g)) {
    rows.at(-1)?.push(cell.replaceAll('""', '"'))
    if (end !== ',') rows.push([])
  }
  return rows.slice(0, -1)
}

describe('`audit export`', () => {
  test('writes what was committed, sealed or not, oldest first', async () => {
    const { code, stdout, stderr } = await run('--since', SINCE)
    expect({ code, stderr }).toEqual({ code: 0, stderr: `Exported ${COUNT} events.\n` })
    const events = linesOf(stdout)
    expect(events.map(({ position }) => position)).toEqual(Array.from({ length: COUNT }, (_, index) => index + 1))
    expect(Object.keys(events[0])).toEqual(FIELDS)
    expect(events.slice(0, 10).map(({ userAgent }) => userAgent)).toEqual(AGENTS)
    // Nothing that a terminal would obey.
    expect(stdout).not.toMatch(/[\u007f-\u009f]/)
    expect(events[61]).toMatchObject({
      ...{ type: 'LOGIN_FAILED', occurredAt: '2020-01-01T01:01:00.000Z', success: false, riskLevel: 'MEDIUM' },
      ...{ userId: null, metadata: { reason: '=1' } },
    })
  })

  test('has what it tells of from --since, inclusive, to --until, exclusive', async () => {
    const { stdout } = await run('--since', '2020-01-01T02:00:00+01:00', '--until', '2020-01-01T03:00:00Z')
    const times = linesOf(stdout).map(({ occurredAt }) => occurredAt)
    expect(times).toHaveLength(120)
    expect([times[0], times.at(-1)]).toEqual(['2020-01-01T01:00:00.000Z', '2020-01-01T02:59:00.000Z'])
    expect(await run('--since', '30d')).toEqual({ code: 0, stdout: '', stderr: 'Exported 0 events.\n' })
  })

  test('writes CSV that a spreadsheet reads, and takes no cell of for a formula', async () => {
    const { stdout } = await run('--format', 'csv', '--since', SINCE)
    const [head, ...rows] = cellsOf(stdout)
    expect(head).toEqual(FIELDS)
    expect(rows).toHaveLength(COUNT)
    expect(rows.every((row) => row.length === FIELDS.length)).toBe(true)
    const agents = rows.slice(0, 10).map((row) => row[FIELDS.indexOf('userAgent')])
    expect(agents).toEqual([
      "'=1+1",
      "'+1",
      "'-1",
      "'@SUM(A1)",
      "'\t'=1",
      "'\r=1",
      ...AGENTS.slice(6, 8),
      'a\uFFFD31mred',
      '',
    ])
    const { position, occurredAt, success, metadata } = Object.fromEntries(
      FIELDS.map((field, index) => [field, rows[61]?.[index]]),
    )
    expect({ position, occurredAt, success }).toEqual({
      ...{ position: '62', occurredAt: '2020-01-01T01:01:00.000Z', success: 'false' },
    })
    expect(metadata).toBe('{"reason":"=1"}')
    expect(cellsOf((await run('--format', 'csv', '--since', '30d')).stdout)).toEqual([FIELDS])
  })

  test('writes CSV of which no other separator makes a formula', async () => {
    const { stdout } = await run('--format', 'csv', '--since', LATER_SINCE, '--until', LATER_UNTIL)
    const [, ...rows] = cellsOf(stdout)
    expect(rows.map((row) => row[FIELDS.indexOf('userAgent')])).toEqual([
      "a;'=cmd|' /C calc'!A0;b",
      'a;"\'=1;b',
      "a\t'＋1",
      'X11; +http://bot.example',
      "a;b=1;'-",
    ])
  })

  test('writes a new file that only its owner reads', async () => {
    const path = join(folder, 'events.ndjson')
    const { code, stdout } = await run('--since', SINCE, '--output', path, '--json')
    expect({ code, result: JSON.parse(stdout) }).toEqual({ code: 0, result: { events: COUNT, output: path } })
    expect(linesOf(await readFile(path, 'utf8'))).toHaveLength(COUNT)
    expect((await stat(path)).mode & 0o777).toBe(0o600)
  })

  test('leaves a file that is there alone, and none when it fails', async () => {
    const path = join(folder, 'mine.txt')
    await writeFile(path, 'mine')
    const refused = await run('--since', SINCE, '--output', path)
    expect(refused).toMatchObject({ code: 1, stdout: '', stderr: `${path} exists: it is not overwritten\n` })
    expect(await readFile(path, 'utf8')).toBe('mine')
    const away = { DATABASE_URL: 'postgresql://nobody@127.0.0.1:1/none' }
    const half = join(folder, 'half.ndjson')
    expect(await runCli(away, 'audit', 'export', '--since', SINCE, '--output', half)).toMatchObject({ code: 1 })
    expect(await readdir(folder)).not.toContain('half.ndjson')
  })

  test.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const)('leaves nothing behind when %s breaks it off, and exits with %i', async (signal, status) => {
    const output = join(folder, `${signal}.ndjson`)
    const begun = async () => (await readdir(folder)).filter((name) => name.startsWith(signal))
    const { untilWaiting } = await lockDatabase({ databaseUrl }, 'LOCK TABLE audit_events')
    const child = startCli(env, 'audit', 'export', '--since', SINCE, '--output', output)
    await untilWaiting(1)
    expect(await begun()).toEqual([`${signal}.ndjson.${child.pid}.part`])
    child.kill(signal)
    expect(await once(child, 'exit')).toEqual([status, null])
    expect(await begun()).toEqual([])
  })

  test('ends quietly when nobody reads on', async () => {
    const child = startCli(env, 'audit', 'export', '--since', SINCE)
    let stderr = ''
    child.stderr.on('data', (chunk) => {
      stderr += chunk
    })
    await once(child.stdout, 'data')
    child.stdout.destroy()
    const [code] = await once(child, 'close')
    expect({ code, stderr }).toEqual({ code: 0, stderr: expect.stringMatching(/^(Exported \d+ events\.\n)?$/) })
  })

  test('has nothing secret of what people did', async () => {
    const app = await startApp()
    const ada = await app.newUser()
    const { stdout } = await runCli(
      ...[{ DATABASE_URL: app.installation.databaseUrl }, 'audit', 'export'],
      ...['--since', '1h', '--format', 'csv'],
    )
    const types = (await app.eventsOf(ada)).map(({ type }) => type)
    expect(cellsOf(stdout).map((row) => row[2])).toEqual(['type', ...types.reverse()])
    for (const secret of [PASSWORD, ada.accessToken, ada.refreshToken]) expect(stdout).not.toContain(secret)
  })

  test.each([
    ['no --since', [], "required option '--since <when>' not specified"],
    ['a day that there is not', ['--since', '2026-02-30'], 'Must be ISO 8601'],
    ['a time without a zone', ['--since', '2026-01-31T12:00:00'], 'Must be ISO 8601'],
    ['an age that no date has', ['--since', '99999999999d'], 'Must be ISO 8601'],
    ['an unknown format', ['--since', '1d', '--format', 'xml'], 'Allowed choices are ndjson, csv'],
    ['an end before the beginning', ['--since', '1d', '--until', '2d'], '--since must be before --until'],
    ['a file without a name', ['--since', '1d', '--output', ''], '--output must be the name of a file\n'],
    ['a folder that there is not', ['--since', '1d', '--output', '/nowhere/x'], 'The folder /nowhere does not exist\n'],
    ['a file for a folder', ['--since', '1d', '--output', '/dev/null/x'], '/dev/null/x cannot be written: ENOTDIR\n'],
  ])('refuses %s', async (_, args, message) => {
    expect(await run(...args)).toEqual({ code: 1, stdout: '', stderr: expect.stringContaining(message) })
  })
})

import { existsSync, rmSync } from 'node:fs'
import { constants, copyFile, type FileHandle, link, open, rm } from 'node:fs/promises'
import { constants as system } from 'node:os'
import { dirname } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { SingleBar } from 'cli-progress'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { stringify } from 'csv-stringify/sync'
import ms, { type StringValue } from 'ms'
import { z } from 'zod'
import { CONTROLS, withoutControls } from '../infra/log.js'
import type { AuditPage, AuditScan } from '../services/audit-pages.js'
import { addEraseCommand, addVerifyCommand } from './audit-chain.js'
import type { Host } from './host.js'
import { withInstallation } from './installation.js'
import { examples, print } from './output.js'

type Event = AuditPage['events'][number]

interface Format {
  /** What stands before all events. */
  head: string
  /** Some events as text. */
  page(events: readonly Event[]): string
}

interface ExportOptions {
  format: keyof typeof FORMATS
  since: Date
  until?: Date
  output?: string
}

const PAGE = 1000
const OWNER_ONLY = 0o600
// The last one where a terminal or a connection to it is closed.
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
const DATE = z.union([z.iso.date(), z.iso.datetime({ offset: true })])
const WHEN = 'ISO 8601 (2026-01-31, 2026-01-31T12:00:00Z) or so long ago (30d, 12h)'

/** The fields of an event by the names of the API. Named one by one: nothing else of a row leaves the database. */
const FIELDS = [
  ...['position', 'id', 'type', 'occurredAt', 'success', 'riskLevel', 'userId', 'sessionId', 'ipAddress', 'userAgent'],
  ...['city', 'country', 'correlationId', 'metadata'],
] as const satisfies readonly (keyof Event)[]

const toRecord = (event: Event) => ({
  ...Object.fromEntries(FIELDS.map((field) => [field, event[field]])),
  position: Number(event.position),
  occurredAt: event.occurredAt.toISOString(),
})

/** RFC 4180. A cell that a spreadsheet would take for a formula begins with an apostrophe (OWASP, CSV injection). */
const toCsv = (records: readonly object[], hasHead: boolean) =>
  stringify([...records], {
    columns: [...FIELDS],
    header: hasHead,
    record_delimiter: 'windows',
    quoted: true,
    quoted_empty: true,
    escape_formulas: true,
    cast: { boolean: String },
  })

/** Where a spreadsheet takes another separator than the comma, as in half of Europe, these would begin a cell. */
const LATER_FORMULA = /(?=[=+\-@＝＋－＠])(?<=[;\t]"*)/g
const toSafeCsv = (events: readonly Event[]) =>
  toCsv(events.map(toRecord), false).replace(CONTROLS, '\uFFFD').replace(LATER_FORMULA, "'")

const toJsonLine = (event: Event) => `${withoutControls(JSON.stringify(toRecord(event)))}\n`

const FORMATS = {
  ndjson: { head: '', page: (events) => events.map(toJsonLine).join('') },
  csv: { head: toCsv([], true), page: toSafeCsv },
} as const satisfies Record<string, Format>

/** A moment by its date, or by how long ago it was. */
function moment(value: string): Date {
  const isAgo = /^\d{1,6}(s|m|h|d)$/.test(value)
  if (!isAgo && !DATE.safeParse(value).success) throw new InvalidArgumentError(`Must be ${WHEN}.`)
  return new Date(isAgo ? Date.now() - ms(value as StringValue) : value)
}

/** Shows on a terminal how far it is, unless the events themselves are shown there. */
function startProgress(
  { stdout, stderr }: Host,
  positions: number,
  isToFile: boolean,
): { advance(passed: number): void; stop(): void } {
  if (!stderr.isTTY || (stdout.isTTY && !isToFile)) return { advance: () => {}, stop: () => {} }
  const bar = new SingleBar({ format: '{bar} {percentage}% | {eta_formatted} left', stream: stderr })
  bar.start(positions, 0)
  return { advance: (passed) => bar.increment(passed), stop: () => bar.stop() }
}

/** Whoever reads may stop reading, as `head` does. */
const isClosedPipe = (error: unknown) => (error as { code?: unknown }).code === 'EPIPE'

/** Writes the events, a page at a time, no faster than they are taken. Returns how many. */
async function write(
  host: Host,
  scan: AuditScan,
  { head, page }: Format,
  file: FileHandle | undefined,
): Promise<number> {
  const progress = startProgress(host, scan.positions, file !== undefined)
  let count = 0
  async function* texts() {
    yield head
    for await (const { events, passed } of scan.pages) {
      yield page(events)
      count += events.length
      progress.advance(passed)
    }
  }
  try {
    await pipeline(texts, file?.createWriteStream() ?? host.stdout, { end: file !== undefined })
  } catch (error) {
    if (file || !isClosedPipe(error)) throw error
  } finally {
    progress.stop()
  }
  return count
}

/** Whoever breaks it off leaves no personal data lying about. The status is that of a shell: 128 and the signal. */
function removeOnSignals(path: string): () => void {
  const end = (signal: NodeJS.Signals) => {
    rmSync(path, { force: true })
    process.exit(128 + system.signals[signal])
  }
  for (const signal of SIGNALS) process.on(signal, end)
  return () => {
    for (const signal of SIGNALS) process.off(signal, end)
  }
}

/** A new file, which is there in the end only when the work has succeeded. Throws when there is one of the name. */
async function withNewFile<T>(path: string, work: (file: FileHandle) => Promise<T>): Promise<T> {
  const taken = () => new Error(`${path} exists: it is not overwritten`)
  if (existsSync(path)) throw taken()
  const part = `${path}.${process.pid}.part`
  const leave = removeOnSignals(part)
  const file = await open(part, 'wx', OWNER_ONLY).catch(({ code }) => {
    leave()
    if (code === 'ENOENT') throw new Error(`The folder ${dirname(part)} does not exist`)
    throw code === 'EEXIST' ? taken() : new Error(`${path} cannot be written: ${code}`)
  })
  try {
    const result = await work(file).finally(() => file.close())
    // Unlike a renaming, this replaces nothing.
    await link(part, path).catch((error) => {
      // Where the file system has no links.
      if (error.code === 'EEXIST') throw error
      return copyFile(part, path, constants.COPYFILE_EXCL)
    })
    return result
  } catch (error) {
    throw (error as { code?: unknown }).code === 'EEXIST' ? taken() : error
  } finally {
    await rm(part, { force: true })
    leave()
  }
}

async function exportEvents(host: Host, { format, since, until }: ExportOptions, file?: FileHandle): Promise<number> {
  return withInstallation(host, async ({ services: { audit } }) => {
    // Everything that was committed before is included, and nothing that happens meanwhile.
    await audit.seal()
    const scan = await audit.scan({ from: since, to: until }, (await audit.bounds()).head, PAGE)
    return write(host, scan, FORMATS[format], file)
  })
}

function addExportCommand(audit: Command, host: Host): void {
  audit
    .command('export')
    .description('write the events of a time, oldest first; it holds personal data, but no secrets')
    .addOption(
      new Option('--format <format>', 'ndjson: exact; csv: for spreadsheets, with formulas made harmless')
        .choices(Object.keys(FORMATS))
        .default('ndjson'),
    )
    .requiredOption('--since <when>', `the first moment: ${WHEN}`, moment)
    .option('--until <when>', 'the moment after the last; default: now', moment)
    .option('--output <file>', 'a new file; default: standard output')
    .addHelpText(
      'after',
      examples(
        'audit export --since 30d --output events.ndjson',
        'audit export --format csv --since 2026-01-01 --until 2026-02-01 --output january.csv',
      ),
    )
    .action(async (options: ExportOptions, command: Command) => {
      const { since, until, output } = options
      if (until && since >= until) throw new Error('--since must be before --until')
      if (output === '') throw new Error('--output must be the name of a file')
      const work = (file?: FileHandle) => exportEvents(host, options, file)
      const events = await (output === undefined ? work() : withNewFile(output, work))
      if (output === undefined) host.stderr.write(`Exported ${events} events.\n`)
      else print(host, command, { events, output }, `Exported ${events} events to ${output}.`)
    })
}

export function addAuditCommands(program: Command, host: Host): void {
  const audit = program.command('audit').description('the audit log')
  addExportCommand(audit, host)
  addVerifyCommand(audit, host)
  addEraseCommand(audit, host)
}

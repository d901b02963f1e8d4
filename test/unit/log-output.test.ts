import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { text } from 'node:stream/consumers'
import { afterEach, describe, expect, test } from 'vitest'

const LOG = new URL('../../src/infra/log.ts', import.meta.url)
const TEXT = 'x'.repeat(1000)
/** More than a pipe takes, less than may wait. */
const SOME = 2_000
/** More than may wait: with it, the process would grow by that much. */
const TOO_MANY = 100_000

const children: ChildProcess[] = []
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL')
})

/** A process that logs, and says on its standard error what it has come to. */
function run(program: string, stdout: 'pipe' | number) {
  const script = `
    const { createLog } = await import('${LOG.href}')
    const log = createLog({ level: 'info', format: 'json' })
    const many = (count) => { for (let n = 0; n < count; n++) log.info({ n }, '${TEXT}') }
    const soon = (work) => setTimeout(work, 100)
    ${program}`
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', script], {
    stdio: ['pipe', stdout, 'pipe'],
  })
  children.push(child)
  const { stdin, stderr } = child
  if (!stdin || !stderr) throw new Error('There are no pipes')
  return { child, stdin, said: text(stderr), exited: once(child, 'exit').then(([code]) => code as number | null) }
}

const numbersOf = (written: string) => {
  const lines = written.trimEnd().split('\n')
  return lines.map((line) => (JSON.parse(line) as { n?: number }).n)
}
const upTo = (count: number) => Array.from({ length: count }, (_, n) => n)

test('what is logged just before the process ends is written, in order, also if it is more than a pipe takes', async () => {
  const { child, exited } = run(`many(${SOME}); log.error({ n: ${SOME} }, 'The end'); process.exit(1)`, 'pipe')
  if (!child.stdout) throw new Error('There is no pipe')
  const written = text(child.stdout)
  expect(await exited).toBe(1)
  expect(numbersOf(await written)).toEqual(upTo(SOME + 1))
})

test('a line that is longer than a pipe takes is written in pieces, and whole', async () => {
  const { child, exited } = run(`log.info({ n: 0 }, '${TEXT}'.repeat(${SOME})); many(1); process.exit(0)`, 'pipe')
  if (!child.stdout) throw new Error('There is no pipe')
  const written = text(child.stdout)
  expect(await exited).toBe(0)
  expect(numbersOf(await written)).toEqual([0, 0])
})

test('a reader who pauses keeps the process neither from its work nor from ending, and costs bounded memory', async () => {
  const program = `
    many(1)
    const before = process.memoryUsage().rss
    many(${TOO_MANY})
    soon(() => {
      console.error((process.memoryUsage().rss - before) / 1e6 < 60 ? 'bounded' : 'grows')
      process.exit(0)
    })`
  const { said, exited } = run(program, 'pipe')
  expect(await exited).toBe(0)
  expect(await said).toBe('bounded\n')
})

test('a reader who goes on gets whole lines in order, and hears how many are lost', async () => {
  const { child, stdin, exited } = run(`many(${TOO_MANY}); process.stdin.on('data', () => log.info({}, 'On'))`, 'pipe')
  if (!child.stdout) throw new Error('There is no pipe')
  let written = ''
  child.stdout.setEncoding('utf8')
  for await (const chunk of child.stdout) {
    written += chunk
    if (written.includes('Lines of the log are lost')) break
  }
  stdin.end()
  expect(await exited).not.toBeNull()
  const lines = written
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as { n?: number; lines?: number })
  const numbers = lines.flatMap(({ n }) => n ?? [])
  const lost = lines.reduce((sum, each) => sum + (each.lines ?? 0), 0)
  expect(numbers).toEqual([...numbers].sort((one, other) => one - other))
  expect(numbers.length + lost).toBe(TOO_MANY)
})

test('a reader who is gone ends nothing', async () => {
  const { child, said, exited } = run(
    `process.stdin.once('data', () => { many(${SOME}); soon(() => { console.error('works'); process.exit(0) }) })`,
    'pipe',
  )
  child.stdout?.destroy()
  child.stdin?.write('go')
  expect(await exited).toBe(0)
  expect(await said).toBe('works\n')
})

describe.runIf(process.platform === 'linux')('a disk that is full', () => {
  test('ends nothing, and keeps the process from ending no longer than any other', async () => {
    const full = openSync('/dev/full', 'w')
    const { said, exited } = run(`many(${SOME}); soon(() => { console.error('works'); process.exit(0) })`, full)
    closeSync(full)
    expect(await exited).toBe(0)
    expect(await said).toBe('works\n')
  })
})

import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { loadConfig, SETTINGS } from '../../src/config.js'
import { DETECTION_RULES } from '../../src/detection-rules.js'
import * as errors from '../../src/errors.js'

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')

/** What stands in backticks in the first column of the tables. */
const rowsOf = (markdown: string) => [...markdown.matchAll(/^\| `([A-Z0-9_]+)` \|/gm)].map(([, name]) => name)
const example = Object.fromEntries(
  [...read('.env.example').matchAll(/^# ([A-Z0-9_]+)=(.*)$/gm)].map(([, name = '', value]) => [name, value]),
)

test('docs/configuration.md has a row for every setting, and for nothing else', () => {
  expect(rowsOf(read('docs/configuration.md')).sort()).toEqual([...SETTINGS].sort())
})

test('.env.example lists every setting, and nothing else', () => {
  expect(Object.keys(example).sort()).toEqual([...SETTINGS].sort())
})

test('.env.example shows the defaults', () => {
  expect(loadConfig(example)).toEqual(loadConfig({}))
})

test('docs/configuration.md says the same defaults as .env.example', () => {
  const documented = read('docs/configuration.md').matchAll(/^\| `([A-Z0-9_]+)` \| `([^`]*)` \|/gm)
  for (const [, name = '', value] of documented) if (example[name]) expect(value, name).toBe(example[name])
})

test('docs/audit-log.md says of every rule what it raises, from what on, and whether it mails', () => {
  const rows = read('docs/audit-log.md').matchAll(/^\| `([A-Z_]+)` \| .+ \| ([A-Z]+) \| `(.+)` \| (yes|no) \|/gm)
  const documented = [...rows].map(([, rule, riskLevel, threshold, mail]) => [
    rule,
    riskLevel,
    threshold,
    mail === 'yes',
  ])
  const rules = Object.entries(DETECTION_RULES).map(([rule, { riskLevel, threshold, isMailed }]) => {
    return [rule, riskLevel, threshold, isMailed]
  })
  expect(documented.sort()).toEqual(rules.sort())
})

test('docs/errors.md has a row for every error', () => {
  const source = read('src/errors.ts')
  const codes = [...source.matchAll(/readonly code(?: = |: )(.+)$/gm)].flatMap(
    ([, text = '']) => text.match(/[A-Z_]{3,}/g) ?? [],
  )
  const classes = Object.values(errors).filter((value) => Object.getPrototypeOf(value) === errors.DomainError)
  expect(codes.length).toBeGreaterThan(classes.length)
  expect(rowsOf(read('docs/errors.md'))).toEqual(expect.arrayContaining(codes))
})

test('docs/errors.md has a row for every top-level code of the contract', () => {
  const codes = [...read('test/security/contract.graphql').matchAll(/^# {3}([A-Z_]{5,}) /gm)].map(([, code]) => code)
  expect(codes).toHaveLength(8)
  expect(rowsOf(read('docs/errors.md'))).toEqual(expect.arrayContaining(codes))
})

test('docs/errors.md names every member of a result union', () => {
  const classes = Object.entries(errors).filter(([, value]) => Object.getPrototypeOf(value) === errors.DomainError)
  const text = read('docs/errors.md')
  for (const [name] of classes) expect(text).toContain(`\`${name}\``)
})

/** Every test that a document names: `file`: "name", "name"; or the same: "name". */
function citedTests(markdown: string): [file: string, name: string][] {
  const cited: [string, string][] = []
  let file = ''
  for (const [, path, names = ''] of markdown.matchAll(/(?:`(test\/[^`]+)`|\bthe same)((?:[:,] "[^"]+")*)/g)) {
    file = path ?? file
    for (const [, name = ''] of names.matchAll(/"([^"]+)"/g)) cited.push([file, name])
  }
  return cited
}

test.each(['docs/asvs.md', 'docs/security-review.md', 'docs/threat-model.md'])(
  '%s names tests that there are',
  (document) => {
    const markdown = read(document)
    const files = [...markdown.matchAll(/`(test\/[^`*]+\.ts)`/g)].map(([, path = '']) => path)
    for (const path of files) expect(read(path), path).toContain('test')
    const missing = citedTests(markdown).filter(([file, name]) => !read(file).includes(name))
    expect(missing).toEqual([])
  },
)

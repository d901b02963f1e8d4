import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'

/** The lines that the rule of scripts/lint complains of. */
function refusedBy(rule: string, lines: readonly string[]): string[] {
  const directory = mkdtempSync(join(tmpdir(), 'portcullis-lint-'))
  onTestFinished(() => rmSync(directory, { recursive: true }))
  const linter = { rules: { preset: 'none' } }
  writeFileSync(join(directory, 'biome.json'), JSON.stringify({ plugins: [resolve('scripts/lint', rule)], linter }))
  lines.forEach((line, index) => void writeFileSync(join(directory, `${index}.ts`), line))
  const command = [resolve('node_modules/@biomejs/biome/bin/biome'), 'lint', '--reporter=json', '.']
  let report = ''
  try {
    report = execFileSync(process.execPath, command, { cwd: directory, encoding: 'utf8', stdio: 'pipe' })
  } catch (error) {
    report = (error as { stdout: string }).stdout
  }
  return lines.filter((_, index) => report.includes(`${index}.ts`))
}

describe.each([
  ['services-as-types.grit', '../services/login.js'],
  ['services-as-types.grit', '../generated/prisma/client.js'],
  ['config-as-type.grit', '../config.js'],
])('%s about %s', (rule, source) => {
  test('refuses whatever brings more than types, in whichever way', () => {
    const lines = [
      `import { name } from '${source}'`,
      `import { type Name, name } from '${source}'`,
      `import * as names from '${source}'`,
      `import '${source}'`,
      `export { name } from '${source}'`,
      `export * from '${source}'`,
      `export * as names from '${source}'`,
      `export const names = await import('${source}')`,
    ]
    expect(refusedBy(rule, lines)).toEqual(lines)
  })

  test('lets types pass, and what comes from elsewhere', () => {
    const lines = [
      `import type { Name } from '${source}'`,
      `export type { Name } from '${source}'`,
      `export type * from '${source}'`,
      `export type Name = import('${source}').Name`,
      `export { name } from './elsewhere.js'`,
    ]
    expect(refusedBy(rule, lines)).toEqual([])
  })
})

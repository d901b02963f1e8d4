import { execFileSync } from 'node:child_process'
import fs, { linkSync, readFileSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { expect, it, onTestFinished, vi } from 'vitest'
import { runningPostgresUrl } from '../../src/infra/embedded-postgres.js'
import { useDataDir } from '../support/embedded.js'
import { THROWAWAY_FLAGS } from '../support/throwaway.js'

/** What happens between the writing of any file and the next step. */
function afterWriting(next: () => void): void {
  const { writeFileSync: write } = fs
  const writing = vi.spyOn(fs, 'writeFileSync').mockImplementation((...args) => {
    write(...args)
    next()
  })
  syncBuiltinESMExports()
  onTestFinished(() => {
    writing.mockRestore()
    syncBuiltinESMExports()
  })
}

const { inDataDir, start } = useDataDir()

it.runIf(process.getuid?.() === 0)('Root gives away no file elsewhere by a link in the place of its own', async () => {
  const [file, link] = [inDataDir('file-of-root'), inDataDir('link')]
  writeFileSync(file, '', { mode: 0o600 })
  symlinkSync(file, link)
  // By whoever owns the directory, as soon as the password is in its file.
  afterWriting(() => renameSync(link, inDataDir('postgres.password')))
  await expect(start(THROWAWAY_FLAGS)).rejects.toThrow()
  expect(statSync(file).uid).toBe(0)
})

it.each([
  ['a symbolic link to it', symlinkSync],
  ['another name of it', linkSync],
  ['a pipe that has no end', (_file: string, path: string) => void execFileSync('mkfifo', [path])],
])('Tells whoever answers at the socket of no file elsewhere, by %s', async (_, link) => {
  await start(THROWAWAY_FLAGS)
  const [password, file] = [inDataDir('postgres.password'), inDataDir('file-of-root')]
  const itself = readFileSync(password)
  writeFileSync(file, 'a secret of root', { mode: 0o600 })
  rmSync(password)
  link(file, password)
  await expect(runningPostgresUrl(inDataDir())).rejects.toThrow('Cannot read the password of the embedded database')
  // For the end of the test.
  rmSync(password)
  writeFileSync(password, itself)
})

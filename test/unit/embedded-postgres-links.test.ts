import { renameSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { expect, it, vi } from 'vitest'
import { THROWAWAY_FLAGS } from '../../src/infra/embedded-postgres.js'
import { useDataDir } from '../support/embedded.js'

const written = vi.hoisted(() => ({ follow: () => {} }))
vi.mock('node:fs', async (importOriginal) => {
  const fs = await importOriginal<typeof import('node:fs')>()
  const write: typeof fs.writeFileSync = (...args) => {
    fs.writeFileSync(...args)
    written.follow()
  }
  return { ...fs, writeFileSync: write }
})

const { inDataDir, start } = useDataDir()

it.runIf(process.getuid?.() === 0)('Root gives away no file elsewhere by a link in the place of its own', async () => {
  const [file, link] = [inDataDir('file-of-root'), inDataDir('link')]
  writeFileSync(file, '', { mode: 0o600 })
  symlinkSync(file, link)
  // By whoever owns the directory, as soon as the password is in its file.
  written.follow = () => renameSync(link, inDataDir('postgres.password'))
  await expect(start(THROWAWAY_FLAGS)).rejects.toThrow()
  expect(statSync(file).uid).toBe(0)
})

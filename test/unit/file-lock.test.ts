import {
  chownSync,
  existsSync,
  linkSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { tryLockFile } from '../../src/infra/file-lock.js'

function makeDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'portcullis-lock-'))
  onTestFinished(() => rmSync(directory, { recursive: true }))
  return directory
}

describe('the lock of a file', () => {
  it.each([
    ['a symbolic link to it', symlinkSync],
    ['another name of it', linkSync],
  ])('writes to no file elsewhere, by %s', async (_, link) => {
    const [directory, elsewhere] = [makeDirectory(), makeDirectory()]
    const [lock, file] = [join(directory, 'command.lock'), join(elsewhere, 'file-of-root')]
    writeFileSync(file, 'of root')
    link(file, lock)
    await expect(tryLockFile(lock)).rejects.toThrow(lock)
    expect(readFileSync(file, 'utf8')).toBe('of root')
  })

  it('makes no file elsewhere', async () => {
    const [directory, elsewhere] = [makeDirectory(), makeDirectory()]
    const lock = join(directory, 'command.lock')
    symlinkSync(join(elsewhere, 'new'), lock)
    await expect(tryLockFile(lock)).rejects.toThrow(lock)
    expect(existsSync(join(elsewhere, 'new'))).toBe(false)
  })
  it.runIf(process.getuid?.() === 0)('is left to the owner of its directory when root has used it', async () => {
    const directory = makeDirectory()
    chownSync(directory, 65_534, 65_533)
    const lock = join(directory, 'command.lock')
    const end = await tryLockFile(lock)
    expect(await tryLockFile(lock)).toBeNull()
    end?.()
    const { uid, gid, mode } = statSync(lock)
    expect({ uid, gid, mode: mode & 0o777 }).toEqual({ uid: 65_534, gid: 65_533, mode: 0o600 })
  })
})

import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs'

/**
 * Opens a file of a directory that another account may own. What that has put in the place of the file must lead a process
 * of root to no other one, to write there or to tell what it says.
 */
export function openPlainFile(path: string, flags: number): number {
  const fd = openSync(path, flags | constants.O_NONBLOCK | constants.O_NOFOLLOW)
  const found = fstatSync(fd)
  if (found.isFile() && found.nlink === 1) return fd
  closeSync(fd)
  throw new Error(`${path} has another name, or is no file`)
}

export function readPlainFile(path: string): string {
  const fd = openPlainFile(path, constants.O_RDONLY)
  try {
    return readFileSync(fd, 'utf8')
  } finally {
    closeSync(fd)
  }
}

/** Opaque cursors of one list: its keys, dressed so that no other list's cursor passes for one. */
export const createCursors = (list: string) => ({
  toCursor: (key: string): string => Buffer.from(`${list}:${key}`).toString('base64url'),

  /** Null for a text that is no cursor of the list. */
  toKey(cursor: string): string | null {
    const text = Buffer.from(cursor, 'base64url').toString()
    const isOurs = text.startsWith(`${list}:`) && Buffer.from(text).toString('base64url') === cursor
    return isOurs ? text.slice(list.length + 1) : null
  },
})

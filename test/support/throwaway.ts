/** For an instance whose data nobody will miss: faster, but not safe against a crash of the machine. */
export const THROWAWAY_FLAGS = ['fsync', 'synchronous_commit', 'full_page_writes'].flatMap((name) => [
  '-c',
  `${name}=off`,
])

// Which settings do not go together.

/** Settings as they were read. */
interface Settings {
  JWT_ALGORITHM: string
  JWT_SIGNING_KEY?: readonly string[] | undefined
  SECRET_KEY?: readonly string[] | undefined
  PASSWORD_HASH_MEMORY_KIB: number
  PASSWORD_HASH_PARALLELISM: number
  PASSWORD_MIN_LENGTH: number
  PASSWORD_MAX_LENGTH: number
}

export function combinationProblems(env: Settings): string[] {
  const problems: string[] = []
  if (env.JWT_ALGORITHM === 'HS256' && !env.JWT_SIGNING_KEY) problems.push('JWT_SIGNING_KEY: required for HS256')
  if (env.JWT_SIGNING_KEY?.some((key) => env.SECRET_KEY?.includes(key)))
    problems.push('JWT_SIGNING_KEY: must be independent of SECRET_KEY, and has a secret of it')
  if (env.PASSWORD_HASH_MEMORY_KIB < 8 * env.PASSWORD_HASH_PARALLELISM)
    problems.push('PASSWORD_HASH_MEMORY_KIB: must be at least eight times PASSWORD_HASH_PARALLELISM')
  if (env.PASSWORD_MIN_LENGTH > env.PASSWORD_MAX_LENGTH)
    problems.push('PASSWORD_MIN_LENGTH: exceeds PASSWORD_MAX_LENGTH')
  return problems
}

import ms, { type StringValue } from 'ms'

/** What a limit counts by. A pair such as `address+identifier` counts the combination. */
export type RateLimitSubject = 'address' | 'address+identifier' | 'address+email' | 'session' | 'user'

export interface RateLimit {
  max: number
  windowMs: number
  by: RateLimitSubject
}

/** Limits by name of the root field; `anonymous` and `authenticated` are the general ones. */
export type RateLimits = Readonly<Record<string, readonly RateLimit[]>>

const limit = (max: number, window: StringValue, by: RateLimitSubject): RateLimit => ({ max, windowMs: ms(window), by })

/** The table of the HTTP contract. Development multiplies the general limits by ten. */
export const defaultRateLimits = (isProduction: boolean): RateLimits => ({
  login: [limit(5, '1m', 'address+identifier'), limit(25, '1h', 'address')],
  register: [limit(5, '1h', 'address')],
  requestPasswordReset: [limit(3, '1m', 'address+email'), limit(5, '1h', 'address')],
  resetPassword: [limit(10, '1h', 'address')],
  verifyEmail: [limit(10, '1h', 'address')],
  resendVerificationEmail: [limit(5, '1h', 'address')],
  exchangeToken: [limit(10, '1h', 'address')],
  refresh: [limit(60, '1h', 'session')],
  logout: [limit(60, '1h', 'session')],
  verifyToken: [limit(100, '1h', 'address')],
  csrfToken: [limit(100, '1h', 'address')],
  changePassword: [limit(10, '1h', 'user')],
  terminateAllSessions: [limit(10, '1h', 'user')],
  sessions: [limit(30, '1h', 'user')],
  terminateSession: [limit(30, '1h', 'user')],
  updateProfile: [limit(60, '1h', 'user')],
  checkPassword: [limit(30, '1m', 'address')],
  // Of these only the general limits, unless RATE_LIMITS says otherwise.
  ...Object.fromEntries(
    ['me', 'auditLog', 'auditChain', 'securityOverview', 'securityAlerts', 'securityEvents'].map((name) => [name, []]),
  ),
  anonymous: [limit(isProduction ? 100 : 1000, '1h', 'address')],
  authenticated: [limit(isProduction ? 1000 : 10_000, '1h', 'user')],
})

/** A field that nobody may call can be meant, such as `register=0/1h`. */
const GENERAL: ReadonlySet<string> = new Set(['*', 'anonymous', 'authenticated'])
const LONGEST_WINDOW = '36500d'
const ENTRY = /^([A-Za-z*]+)\s*=\s*(\d+\/\d+(?:ms|s|m|h|d)(?:,\d+\/\d+(?:ms|s|m|h|d))*)$/

/** What is wrong with an entry; null where nothing is. */
function problemOf(entry: string, defaults: RateLimits): string | null {
  const [, name, rules] = ENTRY.exec(entry) ?? []
  if (!name || !rules) return `cannot read "${entry}"; write it as login=5/1m,25/1h`
  if (name !== '*' && !Object.hasOwn(defaults, name)) return `there is no limit named "${name}"`
  const pairs = rules.split(',').map((rule) => rule.split('/') as [string, StringValue])
  if (GENERAL.has(name) && pairs.some(([max]) => Number(max) < 1))
    return `"${entry}" would refuse everybody: write 1 or more`
  if (pairs.some(([, window]) => ms(window) < 1 || ms(window) > ms(LONGEST_WINDOW)))
    return `the window of "${entry}" is no time at all, or longer than ${LONGEST_WINDOW}`
  return null
}

/**
 * Reads overrides such as `login=5/1m,25/1h;register=5/1h`; `*=100000/1m` sets all that are not named. `off`: no limits.
 * The n-th limit of a field keeps the subject of its n-th default.
 */
export function parseRateLimits(
  text: string,
  defaults: RateLimits,
): { limits: RateLimits | null; problems: readonly string[] } {
  if (text === 'off') return { limits: null, problems: [] }
  const overrides = new Map<string, string>()
  const problems: string[] = []
  for (const entry of text
    .split(';')
    .map((part) => part.trim())
    .filter(Boolean)) {
    const problem = problemOf(entry, defaults)
    if (problem) problems.push(problem)
    const [name = '', rules = ''] = entry.split('=').map((part) => part.trim())
    if (overrides.has(name)) problems.push(`"${name}" stands there twice`)
    overrides.set(name, rules)
  }
  if (problems.length > 0) return { limits: defaults, problems }
  const limits = Object.entries(defaults).map(([name, initial]) => {
    const rules = overrides.get(name) ?? (initial.length > 0 ? overrides.get('*') : undefined)
    if (!rules) return [name, initial] as const
    const parsed = rules.split(',').map((rule, index): RateLimit => {
      const [max, window] = rule.split('/') as [string, StringValue]
      return {
        max: Number(max),
        windowMs: ms(window),
        by: (initial[index] ?? initial[initial.length - 1])?.by ?? 'user',
      }
    })
    return [name, parsed] as const
  })
  return { limits: Object.fromEntries(limits), problems }
}

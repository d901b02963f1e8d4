// The table of what counts as suspicious. docs/audit-log.md has it for people, with what is found at once.
import ms, { type StringValue } from 'ms'
import type { RiskLevel } from './generated/prisma/enums.js'

/** From what on a rule speaks. */
export interface Threshold {
  /** How many; for a journey, kilometres an hour. */
  limit: number
  /** How far back to look; the rule raises the same subject once in this time. */
  windowMs: number
}

const MAX_COUNT = 100
const MAX_SPEED = 100_000
/** Nobody travels further than half around the Earth. */
const LONGEST_WAY_KM = 20_040
const HOUR_MS = 3_600_000
const LONGEST_MS = ms('36500d')

/** How thresholds are written. Each returns null for what it cannot read. */
const READERS = {
  /** So many within so long, such as `5/1h`. */
  count(text: string): Threshold | null {
    const [, count, window] = /^(\d+)\/(\d+(?:s|m|h|d))$/.exec(text) ?? []
    const limit = Number(count)
    return limit >= 1 && limit <= MAX_COUNT ? { limit, windowMs: ms(window as StringValue) } : null
  },
  /** A time to look back, such as `90d`. */
  time: (text: string): Threshold | null =>
    /^\d+[smhd]$/.test(text) ? { limit: 1, windowMs: ms(text as StringValue) } : null,
  /** A speed, such as `900km/h`. */
  speed(text: string): Threshold | null {
    const limit = Number(/^(\d+)km\/h$/.exec(text)?.[1])
    return limit >= 1 && limit <= MAX_SPEED ? { limit, windowMs: (LONGEST_WAY_KM / limit) * HOUR_MS } : null
  },
}

interface Rule {
  riskLevel: RiskLevel
  kind: keyof typeof READERS
  threshold: string
  /** Only what somebody who has the password can cause: a stranger must not be able to fill a mailbox. */
  isMailed: boolean
  /** One sentence for people. */
  sentence: string
}

export const DETECTION_RULES = {
  NEW_COUNTRY: {
    riskLevel: 'MEDIUM',
    kind: 'time',
    threshold: '90d',
    isMailed: true,
    sentence: 'Somebody signed in from a country that the account was not used from before.',
  },
  IMPOSSIBLE_TRAVEL: {
    riskLevel: 'HIGH',
    kind: 'speed',
    threshold: '900km/h',
    isMailed: true,
    sentence: 'Somebody signed in too far away from the sign-in before to have travelled there.',
  },
  SUCCESS_AFTER_FAILURES: {
    riskLevel: 'HIGH',
    kind: 'count',
    threshold: '5/1h',
    isMailed: true,
    sentence: 'Somebody signed in after many failed attempts.',
  },
  STUFFING: {
    riskLevel: 'HIGH',
    kind: 'count',
    threshold: '10/10m',
    isMailed: false,
    sentence: 'Attempts to sign in to many accounts failed from one address.',
  },
  MANY_ADDRESSES: {
    riskLevel: 'HIGH',
    kind: 'count',
    threshold: '5/1h',
    isMailed: false,
    sentence: 'Attempts to sign in to one account came from many addresses.',
  },
  LOGIN_AT_LOCKOUT: {
    riskLevel: 'MEDIUM',
    kind: 'count',
    threshold: '1/30m',
    isMailed: false,
    sentence: 'Somebody tried to sign in while the account was locked.',
  },
  RESET_BURST: {
    riskLevel: 'MEDIUM',
    kind: 'count',
    threshold: '5/1h',
    isMailed: false,
    sentence: 'Many password resets were requested, for one account or from one address.',
  },
} as const satisfies Record<string, Rule>

export type DetectionRule = keyof typeof DETECTION_RULES
/** The rules whose findings the owner of the account is mailed. */
export type MailedRule = {
  [R in DetectionRule]: (typeof DETECTION_RULES)[R]['isMailed'] extends true ? R : never
}[DetectionRule]
/** The thresholds of the rules that are on. */
export type Thresholds = Readonly<Partial<Record<DetectionRule, Threshold>>>

const RULES = Object.keys(DETECTION_RULES) as DetectionRule[]
const isRule = (name: unknown): name is DetectionRule => RULES.includes(name as DetectionRule)

export const isMailed = (rule: DetectionRule): rule is MailedRule => DETECTION_RULES[rule].isMailed

/** What a finding says to people, by the rule that its metadata names. */
export const sentenceOf = (rule: unknown): string | null => (isRule(rule) ? DETECTION_RULES[rule].sentence : null)

/** Reads overrides such as `STUFFING=20/10m;NEW_COUNTRY=off`; `off` alone turns all rules off. */
export function parseDetectionRules(text: string): { thresholds: Thresholds; problems: readonly string[] } {
  if (text === 'off') return { thresholds: {}, problems: [] }
  const given = new Map<DetectionRule, string>()
  const problems: string[] = []
  for (const entry of text.split(';')) {
    const [name = '', ...rest] = entry.split('=').map((part) => part.trim())
    const threshold = rest.join('=')
    if (name === '' && threshold === '') continue
    if (!isRule(name)) problems.push(`there is no rule named "${name}", only ${RULES.join(', ')}`)
    else if (given.has(name)) problems.push(`"${name}" stands there twice`)
    else given.set(name, threshold)
  }
  const thresholds: Partial<Record<DetectionRule, Threshold>> = {}
  for (const rule of RULES) {
    const { kind, threshold } = DETECTION_RULES[rule]
    const written = given.get(rule) ?? threshold
    if (written === 'off') continue
    const read = READERS[kind](written)
    if (read && read.windowMs >= 1 && read.windowMs <= LONGEST_MS) thresholds[rule] = read
    else problems.push(`cannot read "${rule}=${written}"; write it as ${rule}=${threshold}, or ${rule}=off`)
  }
  return { thresholds, problems }
}

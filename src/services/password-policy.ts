import { sha1Hex } from '../crypto/secrets.js'
import type { PasswordRule, PasswordViolation } from '../errors.js'
import type { BreachChecker, PasswordEstimator, PasswordHasher } from '../ports.js'
import { createTurns } from './turns.js'

type CharacterClass = 'upper' | 'lower' | 'digit' | 'symbol'

export interface PasswordPolicySettings {
  /** Code points. */
  minLength: number
  maxLength: number
  /** As zxcvbn: 0 to 4. */
  minScore: number
  requiredClasses: readonly CharacterClass[]
}

/** What the owner is known by, and which passwords must not come back. */
export interface PasswordOwner {
  email?: string | null
  username?: string | null
  firstName?: string | null
  lastName?: string | null
  displayName?: string | null
  /** Hashes of the current and of earlier passwords. */
  history?: readonly string[]
}

export interface Assessment {
  /** zxcvbn, 0 to 4. */
  score: number
  violations: PasswordViolation[]
  /** False when the breach service did not answer: it has to be asked again later. */
  isBreachKnown: boolean
}

const BREACH_TIMEOUT_MS = 2000
/** So many may wait of one address that only ask, and so many addresses. */
const MAX_QUESTIONS = 100
/** What stands in a name's way of being guessed has at least this many characters. */
const MIN_CONTEXT_WORD = 4

const CLASSES: Readonly<Record<CharacterClass, { pattern: RegExp; name: string }>> = {
  upper: { pattern: /\p{Lu}/u, name: 'an upper-case letter' },
  lower: { pattern: /\p{Ll}/u, name: 'a lower-case letter' },
  digit: { pattern: /\p{Nd}/u, name: 'a digit' },
  symbol: { pattern: /[^\p{L}\p{N}]/u, name: 'a symbol' },
}

const simplify = (text: string) =>
  text
    .normalize('NFKC')
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]/gu, '')

/** The words that an attacker who knows the owner tries first (ASVS 6.2.11). */
function contextWords({ email, username, firstName, lastName, displayName }: PasswordOwner): string[] {
  const at = email?.lastIndexOf('@') ?? -1
  const local = at >= 0 ? email?.slice(0, at) : undefined
  const words = [local, ...(local?.split(/[^\p{L}\p{N}]+/u) ?? []), username, firstName, lastName, displayName]
  return [...new Set(words.map((word) => simplify(word ?? '')).filter((word) => word.length >= MIN_CONTEXT_WORD))]
}

interface Judges {
  hasher: PasswordHasher
  estimator: PasswordEstimator
  breaches: BreachChecker
}

/** Judges passwords by length, guessability, likeness to their owner, history and known breaches (NIST SP 800-63B). */
export function createPasswordPolicy(settings: PasswordPolicySettings, { hasher, estimator, breaches }: Judges) {
  const { minLength, maxLength, minScore, requiredClasses } = settings

  const inTurn = createTurns(MAX_QUESTIONS)

  async function inspect(password: string, owner: PasswordOwner, askedBy: string | null) {
    const words = contextWords(owner)
    const estimate = () => estimator.estimate(password, words)
    // A password can be made to take long. No more than one question is ahead of whoever chooses one, and of each address no
    // more than one ahead of the questions of others.
    const ask = () => inTurn('of all', estimate)
    const { score, isCommon } = await (askedBy === null ? estimate() : inTurn(`of ${askedBy}`, ask))
    const length = [...password].length
    const simple = simplify(password)
    const missing = requiredClasses.filter((name) => !CLASSES[name].pattern.test(password))
    const found: [boolean, PasswordRule, string][] = [
      [length < minLength, 'TOO_SHORT', `Use at least ${minLength} characters.`],
      [length > maxLength, 'TOO_LONG', `Use at most ${maxLength} characters.`],
      [isCommon, 'COMMON', 'This password is among the most common ones.'],
      [
        words.some((word) => simple.includes(word)),
        'SIMILAR_TO_ACCOUNT',
        'Leave out your name, username and e-mail address.',
      ],
      [score < minScore, 'TOO_GUESSABLE', 'This password is easy to guess. Several uncommon words make a good one.'],
      [missing.length > 0, 'MISSING_CHARACTER_CLASS', `Add ${missing.map((name) => CLASSES[name].name).join(', ')}.`],
    ]
    return { score, violations: found.flatMap(([isBroken, rule, message]) => (isBroken ? [{ rule, message }] : [])) }
  }

  async function isReused(password: string, history: readonly string[]): Promise<boolean> {
    if (history.length === 0) return false
    // In one place: they may be more than there are.
    return hasher.inPlace(async ({ verify }) => {
      for (const hash of history) if (await verify(hash, password)) return true
      return false
    })
  }

  return {
    /**
     * Every rule that the password breaks. The costly checks are left out once a cheap one has failed. `askedBy`: it is
     * not chosen yet, and this is the address that asks.
     */
    async assess(password: string, owner: PasswordOwner, askedBy: string | null = null): Promise<Assessment> {
      const { score, violations } = await inspect(password, owner, askedBy)
      if (violations.length > 0) return { score, violations, isBreachKnown: true }
      const [reused, breached] = await Promise.all([
        isReused(password, owner.history ?? []),
        breaches.isBreached(sha1Hex(password), BREACH_TIMEOUT_MS),
      ])
      if (reused) violations.push({ rule: 'REUSED', message: 'Choose a password that you have not used here before.' })
      if (breached) violations.push({ rule: 'BREACHED', message: 'This password is known from a data breach.' })
      return { score, violations, isBreachKnown: breached !== null }
    },

    /** The rules as sentences, for people. */
    requirements: [
      `At least ${minLength} characters.`,
      'Hard to guess: several uncommon words make a good password.',
      'Not your name, username or e-mail address, and none of your earlier passwords.',
      ...requiredClasses.map((name) => `Contains ${CLASSES[name].name}.`),
    ],
  }
}

export type PasswordPolicy = ReturnType<typeof createPasswordPolicy>

// Runs on the thread of password-estimator.ts: a password can be made that takes zxcvbn half a second.
import { ZxcvbnFactory } from '@zxcvbn-ts/core'
import { adjacencyGraphs, dictionary as common } from '@zxcvbn-ts/language-common'
import { dictionary as english, translations } from '@zxcvbn-ts/language-en'

/** What comes after cannot make a password weaker, but the time grows with the length. */
const MAX_CHARACTERS = 72
const MAX_SUBSTITUTIONS = 20

const mostCommon = new Set(common['passwords-common'].map(String))

const zxcvbn = new ZxcvbnFactory({
  dictionary: { ...common, ...english },
  graphs: adjacencyGraphs,
  l33tMaxSubstitutions: MAX_SUBSTITUTIONS,
  translations,
})

/**
 * @param {{ password: string, words: string[] }} task
 * @returns {{ score: number, isCommon: boolean }}
 */
export function estimate({ password, words }) {
  const start = password.slice(0, MAX_CHARACTERS)
  const { score } = zxcvbn.check(start, words)
  return { score, isCommon: mostCommon.has(password.toLowerCase()) }
}

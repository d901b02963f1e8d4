import { ConfigError, loadConfig } from '../../src/config.js'

/** What is wrong with settings, as it is told at the start. */
export function problemsOf(env: Record<string, string>): readonly string[] {
  try {
    loadConfig(env)
    return []
  } catch (error) {
    if (error instanceof ConfigError) return error.problems
    throw error
  }
}

import type { Command } from 'commander'
import { type Config, loadConfig } from '../config.js'
import { CHECKS } from './checks.js'
import type { Host } from './host.js'
import { examples, print, table } from './output.js'

interface Finding {
  name: string
  asvs: string
  isPassed: boolean
  reason: string
}

/**
 * Compares a configuration with the requirements that a configuration can break.
 * @internal
 */
export const examine = (config: Config): Finding[] =>
  CHECKS.map(({ name, asvs, problemsOf }) => {
    const problems = problemsOf(config).filter(Boolean)
    return { name, asvs, isPassed: problems.length === 0, reason: problems.join('; ') }
  })

export function addDoctorCommand(program: Command, host: Host): void {
  program
    .command('doctor')
    .description('check the configuration against OWASP ASVS 5.0 (docs/asvs.md); exit status 1 when a check fails')
    .addHelpText('after', examples('doctor', 'doctor --json'))
    .action((_options, command: Command) => {
      const findings = examine(loadConfig(host.env))
      const failed = findings.filter(({ isPassed }) => !isPassed).length
      const rows = findings.map(({ name, asvs, isPassed, reason }) => [isPassed ? 'pass' : 'FAIL', name, asvs, reason])
      const summary = failed > 0 ? `${failed} of ${findings.length} checks failed.` : 'All checks passed.'
      print(host, command, { findings, failed }, `${table(['Result', 'Check', 'ASVS', 'Reason'], rows)}\n${summary}`)
      if (failed > 0) host.exitCode = 1
    })
}

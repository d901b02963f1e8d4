import { Command, CommanderError } from 'commander'
import { addAuditCommands } from './audit.js'
import { addDoctorCommand } from './doctor.js'
import type { Host } from './host.js'
import { addKeyCommands, addMaintenanceCommands, addMigrateCommand } from './operations.js'
import { describeFailure, writeResult } from './output.js'
import { addUserCommands } from './users.js'

/** Carries out one command. What goes wrong is told on standard error, and by the exit status. */
export async function runCommand(host: Host, args: readonly string[]): Promise<void> {
  // Where messages cannot be written, there is nobody to tell: the work goes on, and the status says how it ended.
  host.stderr.on('error', () => {})
  const program = new Command('portcullis')
    .description('Administers an installation of Portcullis. It reads the same environment variables as the server.')
    .option('--json', 'print the result as JSON')
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({
      writeOut: (text) => writeResult(host, text),
      writeErr: (text) => host.stderr.write(text),
    })
    .exitOverride()
    .addHelpText(
      'after',
      '\nResults go to standard output, messages to standard error. The exit status is 0, or 1 on failure.',
    )

  addMigrateCommand(program, host)
  addUserCommands(program, host)
  addKeyCommands(program, host)
  addMaintenanceCommands(program, host)
  addAuditCommands(program, host)
  addDoctorCommand(program, host)

  try {
    await program.parseAsync(args, { from: 'user' })
  } catch (error) {
    // Of these, the program has told already; and help is no failure.
    if (error instanceof CommanderError) host.exitCode = error.exitCode || host.exitCode
    else {
      host.stderr.write(`${describeFailure(error)}\n`)
      host.exitCode = 1
    }
  }
}

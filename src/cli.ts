#!/usr/bin/env node
import { Command } from 'commander'
import { addAuditCommands } from './cli/audit.js'
import { addDoctorCommand } from './cli/doctor.js'
import { addKeyCommands, addMaintenanceCommands, addMigrateCommand } from './cli/operations.js'
import { describeFailure } from './cli/output.js'
import { addUserCommands } from './cli/users.js'

const program = new Command('portcullis')
  .description('Administers an installation of Portcullis. It reads the same environment variables as the server.')
  .option('--json', 'print the result as JSON')
  .configureHelp({ showGlobalOptions: true })
  .addHelpText(
    'after',
    '\nResults go to standard output, messages to standard error. The exit status is 0, or 1 on failure.',
  )

addMigrateCommand(program)
addUserCommands(program)
addKeyCommands(program)
addMaintenanceCommands(program)
addAuditCommands(program)
addDoctorCommand(program)

try {
  await program.parseAsync()
} catch (error) {
  console.error(describeFailure(error))
  process.exitCode = 1
}

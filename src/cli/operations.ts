import type { Command } from 'commander'
import type { Host } from './host.js'
import { migrateInstallation, withInstallation } from './installation.js'
import { examples, print, table } from './output.js'

export function addMigrateCommand(program: Command, host: Host): void {
  program
    .command('migrate')
    .description('bring the database up to date, as every start of a server does')
    .addHelpText('after', examples('migrate', 'migrate --json'))
    .action(async (_options, command: Command) => {
      const applied = await migrateInstallation(host)
      const text = applied.length > 0 ? `Applied:\n${applied.join('\n')}` : 'The database is up to date.'
      print(host, command, { applied }, text)
    })
}

export function addKeyCommands(program: Command, host: Host): void {
  const keys = program.command('keys').description('keys that sign access tokens')
  keys
    .command('list')
    .description('all keys, newest first, and what each is good for')
    .addHelpText('after', examples('keys list', 'keys list --json'))
    .action(async (_options, command: Command) => {
      const list = await withInstallation(host, ({ services }) => services.signingKeys.list())
      const dateOf = (date: Date | null) => date?.toISOString() ?? '-'
      const rows = list.map((key) => [key.kid, key.algorithm, dateOf(key.createdAt), dateOf(key.retiredAt), key.state])
      print(host, command, { keys: list }, table(['kid', 'algorithm', 'created', 'retired', 'state'], rows))
    })
  keys
    .command('rotate')
    .description('sign with a new key from now on; tokens that are out stay valid until they expire')
    .addHelpText('after', examples('keys rotate', 'keys rotate --json'))
    .action(async (_options, command: Command) => {
      const kid = await withInstallation(host, ({ services }) => services.signingKeys.rotate())
      print(host, command, { kid }, `The new key is ${kid}. Servers take it up within a second.`)
    })
  keys
    .command('revoke')
    .description('refuse a key, and all tokens that it has signed, from now on; a new key signs, if it did')
    .argument('<kid>', 'its id, as in /.well-known/jwks.json; after -- where it begins with a hyphen')
    .addHelpText(
      'after',
      examples(
        'keys revoke kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k',
        'keys revoke --json -- -PrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k',
      ),
    )
    .action(async (revoked: string, _options, command: Command) => {
      const kid = await withInstallation(host, ({ services }) => services.revokeKey(revoked))
      print(host, command, { revoked, kid }, `Servers refuse the key ${revoked} within a second. The key ${kid} signs.`)
    })
}

export function addMaintenanceCommands(program: Command, host: Host): void {
  program
    .command('maintenance')
    .description('housekeeping')
    .command('flush')
    .description('remove what has expired, as servers do every hour')
    .addHelpText('after', examples('maintenance flush', 'maintenance flush --json'))
    .action(async (_options, command: Command) => {
      const { purged, stub } = await withInstallation(host, async ({ services }) => ({
        purged: await services.maintenance.purge(),
        stub: await services.checkpoints.stub(),
      }))
      // Where servers write theirs: a line of the log that can be kept as an anchor.
      if (purged.auditEvents > 0 && stub) host.stderr.write(`{"msg":"The audit log was signed","jws":"${stub.jws}"}\n`)
      const lines = Object.entries(purged).map(([kind, count]) => `${kind}: ${count}`)
      print(host, command, { purged }, `Removed:\n${lines.join('\n')}`)
    })
}

import { randomBytes } from 'node:crypto'
import { createInterface } from 'node:readline'
import { type Command, InvalidArgumentError } from 'commander'
import type { ZodType } from 'zod'
import * as shapes from '../schema/shapes.js'
import type { UserRecord } from '../services/records.js'
import type { Host } from './host.js'
import { withInstallation } from './installation.js'
import { examples, print, table } from './output.js'

const GENERATED_LENGTH = 24
const ALL_CLASSES = /^(?=.*[a-z])(?=.*[A-Z])(?=.*\d)(?=.*[-_])/
const ACCOUNT = 'e-mail address, username or id'

/** Reads an argument by the same rule as the API. */
const shaped = (shape: ZodType<string>) => (value: string) => {
  const { success, data, error } = shape.safeParse(value)
  if (!success) throw new InvalidArgumentError(error.issues.map((issue) => issue.message).join(' '))
  return data
}

function count(value: string): number {
  if (!/^[1-9]\d{0,5}$/.test(value)) throw new InvalidArgumentError('Must be a whole number from 1 on.')
  return Number(value)
}

/** Random, with a character of every class that the policy can ask for. */
function generatePassword(minLength: number): string {
  const length = Math.max(GENERATED_LENGTH, minLength)
  for (;;) {
    const password = randomBytes(length).toString('base64url').slice(0, length)
    if (ALL_CLASSES.test(password)) return password
  }
}

async function readLine({ stdin }: Host): Promise<string> {
  for await (const line of createInterface({ input: stdin })) {
    if (line.includes('\uFFFD')) throw new Error('The password on standard input is not in UTF-8')
    return line
  }
  throw new Error('There is no password on standard input')
}

const show = ({ id, email, username, roleName, permissions, isActive }: UserRecord) => ({
  id,
  email,
  username,
  role: roleName,
  permissions,
  isActive,
})

interface CreateOptions {
  email: string
  username?: string
  role: string
  passwordStdin?: boolean
}

function addCreateCommand(user: Command, host: Host): void {
  user
    .command('create')
    .description(
      'make an account whose address counts as verified; without --password-stdin its password is printed once',
    )
    .requiredOption('--email <address>', 'e-mail address', shaped(shapes.newEmail))
    .option('--username <name>', 'username', shaped(shapes.username))
    .option('--role <name>', 'role', 'user')
    .option('--password-stdin', 'take the password from the first line of standard input')
    .addHelpText(
      'after',
      examples(
        'user create --email ada@example.com --role admin',
        'user create --email ada@example.com --username ada --password-stdin < password.txt',
      ),
    )
    .action(async ({ email, username, role, passwordStdin }: CreateOptions, command: Command) => {
      const given = passwordStdin ? await readLine(host) : null
      const { created, password } = await withInstallation(host, async ({ config, services }, operator) => {
        const password = given ?? generatePassword(config.passwords.minLength)
        const account = { email, username: username ?? null, roleName: role, password }
        return { created: await services.administration.create(operator, account), password }
      })
      const secret = given === null ? { password } : {}
      const lines = [`Created ${created.email} (${created.roleName}), id ${created.id}.`]
      if (given === null) lines.push(`Password: ${password}`)
      print(host, command, { user: show(created), ...secret }, lines.join('\n'))
    })
}

const authorizes =
  (host: Host, change: 'grant' | 'revoke') =>
  async (account: string, name: string, _options: unknown, command: Command) => {
    const user = await withInstallation(host, ({ services }, operator) =>
      services.administration[change](operator, account, name),
    )
    const { role, permissions } = show(user)
    const text = `${user.email} has the role ${role} and the permissions: ${permissions.join(', ') || 'none'}.`
    print(host, command, { user: show(user) }, text)
  }

function addChangeCommands(user: Command, host: Host): void {
  user
    .command('grant')
    .description('give a role, or a single permission beyond the role')
    .argument('<account>', ACCOUNT)
    .argument('<name>', 'role or permission')
    .addHelpText('after', examples('user grant ada@example.com admin', 'user grant ada@example.com audit:read'))
    .action(authorizes(host, 'grant'))

  user
    .command('revoke')
    .description('take back a single permission beyond the role')
    .argument('<account>', ACCOUNT)
    .argument('<permission>', 'permission')
    .addHelpText('after', examples('user revoke ada@example.com audit:read'))
    .action(authorizes(host, 'revoke'))

  user
    .command('unlock')
    .description('lift the lock of too many failed logins')
    .argument('<account>', ACCOUNT)
    .addHelpText('after', examples('user unlock ada@example.com'))
    .action(async (account: string, _options, command: Command) => {
      const wasLocked = await withInstallation(host, ({ services }, operator) =>
        services.administration.unlock(operator, account),
      )
      print(host, command, { wasLocked }, wasLocked ? 'The account was unlocked.' : 'The account was not locked.')
    })

  user
    .command('deactivate')
    .description('refuse the account from now on, and end its sessions')
    .argument('<account>', ACCOUNT)
    .addHelpText('after', examples('user deactivate ada@example.com'))
    .action(async (account: string, _options, command: Command) => {
      const result = await withInstallation(host, ({ services }, operator) =>
        services.administration.deactivate(operator, account),
      )
      const done = result.wasActive ? 'The account was deactivated.' : 'The account was deactivated before.'
      print(host, command, result, `${done} Sessions that were ended: ${result.endedSessions}.`)
    })

  user
    .command('activate')
    .description('take a deactivation back; the sessions that it has ended stay so')
    .argument('<account>', ACCOUNT)
    .addHelpText('after', examples('user activate ada@example.com'))
    .action(async (account: string, _options, command: Command) => {
      const wasActive = await withInstallation(host, ({ services }, operator) =>
        services.administration.activate(operator, account),
      )
      print(host, command, { wasActive }, wasActive ? 'The account was active before.' : 'The account was activated.')
    })
}

interface Listed {
  isActive: boolean
  emailVerifiedAt: Date | null
  pendingUntil: Date | null
}

/** A registration that waits for its verification is no account yet: nothing else can be done to it. */
function stateOf({ isActive, emailVerifiedAt, pendingUntil }: Listed): string {
  if (pendingUntil) return 'waiting'
  if (!isActive) return 'deactivated'
  return emailVerifiedAt ? 'active' : 'unverified'
}

function addListCommand(user: Command, host: Host): void {
  user
    .command('list')
    .description('list accounts, and registrations that wait for their verification, newest first')
    .option('--limit <count>', 'how many', count, 100)
    .addHelpText('after', examples('user list', 'user list --limit 1000 --json'))
    .action(async ({ limit }: { limit: number }, command: Command) => {
      const users = await withInstallation(host, ({ services }) => services.administration.list(limit))
      const rows = users.map((user) => [
        ...[user.id, user.email, user.username ?? '-', user.roleName, stateOf(user)],
        user.lastLoginAt?.toISOString() ?? 'never',
      ])
      const list = users.map(({ roleName, ...rest }) => ({ ...rest, role: roleName }))
      print(host, command, { users: list }, table(['ID', 'E-MAIL', 'USERNAME', 'ROLE', 'STATE', 'LAST LOGIN'], rows))
    })
}

export function addUserCommands(program: Command, host: Host): void {
  const user = program.command('user').description('accounts')
  addCreateCommand(user, host)
  addChangeCommands(user, host)
  addListCommand(user, host)
}

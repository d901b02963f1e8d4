import { existsSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { expect, onTestFinished, test } from 'vitest'
import { lockStart } from '../../src/infra/start-lock.js'
import { NEXT_PASSWORD, startApp } from '../support/app.js'
import { overflowCli, runCli, spawnCli } from '../support/cli.js'
import { expectType } from '../support/client.js'
import { openDatabase } from '../support/database.js'
import { eventually } from '../support/eventually.js'
import {
  ChangePasswordDocument,
  LoginDocument,
  LogoutDocument,
  RequestPasswordResetDocument,
  VerifyEmailDocument,
} from '../support/generated/graphql.js'
import { createEmptyInstallation, type Installation } from '../support/installation.js'
import { proofOf, SUBJECTS } from '../support/mailbox.js'
import { makeDataDir, processEnv, startProcess } from '../support/server-process.js'

// So that of old passwords only the latest is to be kept.
const envOf = ({ databaseUrl }: Installation) => ({ DATABASE_URL: databaseUrl, PASSWORD_HISTORY: '1' })

async function run(installation: Installation, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await runCli(envOf(installation), ...args)
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  return stdout
}

test.each([
  ...['user create', 'user grant', 'user revoke', 'user unlock', 'user deactivate', 'user activate', 'user list'],
  ...['migrate', 'maintenance flush'],
])('`%s` explains itself', async (command) => {
  const { code, stdout, stderr } = await runCli({}, ...command.split(' '), '--help')
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  expect(stdout).toContain(`Usage: portcullis ${command} [options]`)
  expect(stdout).toContain('--json')
  expect(stdout).toMatch(new RegExp(`^Examples:\n  \\$ npm run (--silent )?cli -- ${command}`, 'm'))
})

test.each([
  ['--help', 0, { stdout: expect.stringContaining('Usage: portcullis'), stderr: '' }],
  ['user', 1, { stdout: '', stderr: expect.stringContaining('Usage: portcullis user') }],
  ['user lists', 1, { stdout: '', stderr: expect.stringContaining("unknown command 'lists'") }],
  ['keys revoke', 1, { stdout: '', stderr: expect.stringContaining("missing required argument 'kid'") }],
])('`portcullis %s` ends with the status %i', async (command, code, output) => {
  expect(await spawnCli('', {}, ...command.split(' '))).toEqual({ code, ...output })
})

test('Output that cannot be written changes no status, but that of who wanted to read it', async () => {
  const { databaseUrl } = (await startApp()).installation
  const ended = async (outputs: { stdout?: 'full'; stderr?: 'full' }, ...args: string[]) => {
    const { code, stderr } = await overflowCli(outputs, { DATABASE_URL: databaseUrl }, ...args)
    expect(stderr).not.toContain('    at ')
    return { code, stderr }
  }
  const unprinted = 'The command has done its work, but what it says could not be printed: ENOSPC'
  expect(await ended({ stdout: 'full' }, '--help')).toEqual({ code: 1, stderr: expect.stringContaining(unprinted) })
  expect(await ended({ stdout: 'full' }, 'user', 'list')).toEqual({
    code: 1,
    stderr: expect.stringContaining(unprinted),
  })
  expect(await ended({ stderr: 'full' }, 'audit', 'export', '--since', '1d')).toMatchObject({ code: 0 })
})

test('`user list` shows accounts, newest first, and nothing that is secret', async () => {
  const app = await startApp()
  const ada = await app.newUser({ email: 'ada@example.com', username: 'ada' })
  app.clock.advance('1m')
  const bob = await app.newUser({ email: 'bob@example.com' })
  await app.operator.deactivate(bob.email)
  app.clock.advance('1m')
  await app.register({ email: 'eve@example.com' })

  const date = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
  const unused = { username: null, role: 'user', isActive: true, emailVerifiedAt: null, lastLoginAt: null }
  const account = { ...unused, emailVerifiedAt: date, lastLoginAt: date, pendingUntil: null }
  const all = [
    { ...unused, id: expect.any(String), email: 'eve@example.com', pendingUntil: date },
    { ...account, id: bob.id, email: 'bob@example.com', isActive: false },
    { ...account, id: ada.id, email: 'ada@example.com', username: 'ada' },
  ]
  expect(JSON.parse(await run(app.installation, 'user', 'list', '--json'))).toEqual({ users: all })

  const lines = (await run(app.installation, 'user', 'list', '--limit', '2')).trimEnd().split('\n')
  expect(lines).toEqual([
    expect.stringMatching(/^ID +E-MAIL +USERNAME +ROLE +STATE +LAST LOGIN$/),
    expect.stringMatching(/^[0-9a-f-]{36} +eve@example\.com +- +user +waiting +never$/),
    expect.stringMatching(new RegExp(`^${bob.id} +bob@example\\.com +- +user +deactivated +\\S+Z$`)),
  ])
  // Columns stand below each other.
  expect(new Set(lines.map((line) => line.search(/(USERNAME|-|ada) +(ROLE|user) /))).size).toBe(1)
})

test('`migrate` fills an empty database, says with what, and has nothing to do the second time', async () => {
  const empty = await createEmptyInstallation()
  onTestFinished(empty.remove)
  const entries = await readdir('prisma/migrations', { withFileTypes: true })
  const names = entries.filter((entry) => entry.isDirectory()).map(({ name }) => name)
  expect(await run(empty, 'migrate')).toBe(`Applied:\n${names.sort().join('\n')}\n`)
  expect(JSON.parse(await run(empty, 'migrate', '--json'))).toEqual({ applied: [] })
  // Everything is there: a server starts on it, and somebody signs up.
  const app = await startApp({ beside: { installation: empty } })
  await app.newUser()
})

test('`migrate` needs no SECRET_KEY, and makes no key that the servers could not read', async () => {
  const empty = await createEmptyInstallation()
  onTestFinished(empty.remove)
  const env = { ...envOf(empty), SECRET_KEY: '', DATA_DIR: `${makeDataDir()}/new` }
  expect(await runCli(env, 'migrate')).toMatchObject({ code: 0, stdout: expect.stringMatching(/^Applied:\n/) })
  expect(existsSync(env.DATA_DIR)).toBe(false)
  const app = await startApp({ beside: { installation: empty } })
  await app.newUser()
  // Nor does it stumble over the key of the server, when the next version is deployed.
  const { stdout } = await runCli(env, 'migrate')
  expect(stdout).toBe('The database is up to date.\n')
  expect(existsSync(env.DATA_DIR)).toBe(false)
})

test('`migrate` of an embedded database leaves one that is up to date, and no keys', async () => {
  const env = { DATA_DIR: makeDataDir(), SECRET_KEY: '' }
  expect(await spawnCli('', env, 'migrate')).toMatchObject({ code: 0, stdout: expect.stringMatching(/^Applied:\n/) })
  const again = await spawnCli('', env, 'migrate', '--json')
  expect({ ...again, stdout: JSON.parse(again.stdout) }).toEqual({ code: 0, stdout: { applied: [] }, stderr: '' })
  expect(existsSync(`${env.DATA_DIR}/secret.key`)).toBe(false)
})

test('of commands on the embedded database, which ends with the one that has started it, one waits for the other', async () => {
  const env = { DATA_DIR: makeDataDir() }
  const both = ['ada@example.com', 'bob@example.com'].map((email) =>
    spawnCli('', env, 'user', 'create', '--email', email, '--json'),
  )
  const ended = await Promise.all(both)
  expect(ended.map(({ code }) => code)).toEqual([0, 0])
  expect(ended.map(({ stderr }) => stderr)).toContain(
    'Another command, or a server that starts, uses the embedded database: waiting for it.\n',
  )
  expect(JSON.parse((await spawnCli('', env, 'user', 'list', '--json')).stdout).users).toHaveLength(2)
})

test('a server that starts while a command uses the embedded database waits for its end', async () => {
  const env = { DATA_DIR: makeDataDir() }
  const unlock = await lockStart(env.DATA_DIR, () => {})
  const server = startProcess(processEnv(env))
  await eventually(server.output).toContain('waiting for its end')
  unlock()
  await server.ready
})

test('`maintenance flush` removes what has expired, says how much of each kind, and leaves the rest', async () => {
  const app = await startApp()
  const { query } = await openDatabase(app.installation)
  // The server would do the same every hour.
  await query(`DELETE FROM jobs.schedule WHERE name = 'purge-expired'`)
  // The command line knows only the time of day: what it is to remove was long ago.
  app.clock.advance('-400d')
  const old = await app.newUser()
  await app.register()
  const change = { currentPassword: old.password, newPassword: NEXT_PASSWORD }
  expectType(await old.call(ChangePasswordDocument, { input: change }), 'ChangePasswordSuccess')
  await old.call(LogoutDocument)
  await app.anonymous.call(LoginDocument, { input: { identifier: old.email, password: 'not the password' } })
  await app.anonymous.call(RequestPasswordResetDocument, { input: { email: old.email } })
  await app.anonymous.call(VerifyEmailDocument, { input: { email: old.email, code: '123456' } })
  await app.operator.rotateKeys()
  const mails = [...(await app.mailsTo(old.email)), ...(await app.mailsTo('person2@example.com'))]
  await eventually(async () => (await query('SELECT FROM audit_inbox')).rowCount).toBe(0)
  const { rowCount: auditEvents } = await query('SELECT FROM audit_events')

  app.clock.advance('400d')
  const ada = await app.newUser()
  await app.anonymous.call(LoginDocument, { input: { identifier: ada.email, password: 'not the password' } })
  const pending = await app.register()
  const { token } = proofOf(await app.mail(pending.email, SUBJECTS.verification))
  const state = await ada.state()

  const flush = await runCli(envOf(app.installation), 'maintenance', 'flush', '--json')
  const { purged } = JSON.parse(flush.stdout)
  const [{ jws }] = (await query('SELECT jws FROM audit_checkpoints')).rows
  expect(JSON.parse(flush.stderr)).toEqual({ msg: 'The audit log was signed', jws })
  expect(purged).toEqual({
    ...{ sessions: 1, registrations: 1, loginThrottles: 1, mailQuotas: 3, signingKeys: 1, codeGuesses: 1 },
    ...{ auditEvents, mailbox: mails.length, oneTimeTokens: expect.any(Number) },
  })
  // Those of a registration go with it, counted or not.
  expect(purged.oneTimeTokens).toBeGreaterThanOrEqual(3)
  expect((await query('SELECT FROM one_time_tokens WHERE expires_at < now()')).rowCount).toBe(0)
  expect(await ada.state()).toEqual(state)
  expectType(await app.anonymous.call(VerifyEmailDocument, { input: { token } }), 'VerifyEmailSuccess')
  const nothing = Object.keys(purged).map((kind) => `${kind}: 0`)
  expect(await run(app.installation, 'maintenance', 'flush')).toBe(`Removed:\n${nothing.join('\n')}\n`)
})

test('A command says when there is no installation yet where it looks, and makes one', async () => {
  const env = { DATA_DIR: `${makeDataDir()}/new` }
  const first = await spawnCli('', env, 'user', 'list', '--json')
  expect(first).toMatchObject({ code: 0, stdout: expect.stringContaining('"users": []') })
  expect(first.stderr).toContain(`There is nothing in ${env.DATA_DIR}`)
  expect((await spawnCli('', env, 'user', 'list', '--json')).stderr).not.toContain('There is nothing')
})

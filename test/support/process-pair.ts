import { inspect } from 'node:util'
import { afterAll } from 'vitest'
import { loadConfig } from '../../src/config.js'
import { createRuntime } from '../../src/runtime.js'
import { byServer } from '../../src/services/client.js'
import { PASSWORD } from './app.js'
import { createBrowser } from './browser.js'
import { type Client, createClient, expectType } from './client.js'
import { DEVICES } from './devices.js'
import { LoginDocument } from './generated/graphql.js'
import { createInstallation, type Installation } from './installation.js'
import { createTestLog } from './log.js'
import { freePort } from './redis-server.js'
import { expectNoSecrets, noteKeys } from './secrets.js'
import { processEnv, type ServerProcess, spawnServer } from './server-process.js'
import { createUser, type User } from './user.js'

/** A server as a process of its own, always at the same address. */
export interface RunningServer {
  readonly url: string
  /** Somebody who is not signed in. */
  readonly anonymous: Client
  /** SIGKILL, and a new start. */
  restart(): Promise<void>
}

export interface ProcessPair {
  servers: readonly [RunningServer, RunningServer]
  installation: Installation
  /** The settings that both were started with, as the command line needs them. */
  env: Record<string, string>
  /** Somebody who has an account, made by an operator, and is signed in at the first server. */
  newUser(): Promise<User>
  /** As `user deactivate` does, in the process of the test. */
  deactivate(email: string): Promise<unknown>
}

const ADDRESS = 'https://auth.example'
const DEVICE = { 'user-agent': DEVICES.firefoxOnLinux }

/** The same person, as she talks to that server. */
export const at = ({ anonymous }: { anonymous: Client }, { accessToken }: { accessToken: string }) =>
  anonymous.with({ authorization: `Bearer ${accessToken}` })

/** `pair` collects what it writes, and ends it. */
async function startServer(settings: Record<string, string>, processes: ServerProcess[]): Promise<RunningServer> {
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  let server = spawnServer(processEnv({ ...settings, PORT: `${port}` }))
  afterAll(() => server.end())
  processes.push(server)
  await server.ready
  return {
    url,
    anonymous: createClient((init) => fetch(`${url}/graphql`, init), DEVICE),
    async restart() {
      await server.end()
      server = spawnServer(processEnv({ ...settings, PORT: `${port}` }))
      processes.push(server)
      await server.ready
    },
  }
}

/** Two processes on one database of their own, with settings for both and for each. They end with the file. */
export async function startPair(
  shared: Record<string, string>,
  each: readonly [Record<string, string>, Record<string, string>] = [{}, {}],
): Promise<ProcessPair> {
  const installation = await createInstallation()
  afterAll(installation.remove)
  const env = { JWT_ISSUER: ADDRESS, JWT_AUDIENCE: ADDRESS, DATABASE_URL: installation.databaseUrl, ...shared }
  noteKeys(processEnv(env))
  const log = createTestLog()
  const urls = { public: () => ADDRESS, frontend: () => ADDRESS }
  const runtime = await createRuntime(loadConfig(processEnv(env)), log, urls)
  afterAll(runtime.close)
  const processes: ServerProcess[] = []
  const [one, two] = await Promise.all([
    startServer({ ...env, ...each[0] }, processes),
    startServer({ ...env, ...each[1] }, processes),
  ])
  afterAll(async () => {
    const lines = processes.flatMap((server) => server.output().split('\n'))
    await expectNoSecrets(runtime.db.pool, [...lines, ...log.lines])
    const problems = [...lines.filter((line) => /"level":"(error|fatal)"/.test(line)), ...log.problems]
    if (problems.length > 0) throw new Error(`The servers logged errors: ${inspect(problems, { depth: 8 })}`)
  })

  const { administration } = runtime.services
  const operator = byServer('operator')
  const browser = () => createBrowser(`${one.url}/graphql`, DEVICE)
  let accounts = 0
  async function newUser(): Promise<User> {
    accounts += 1
    const account = { email: `person${accounts}@example.com`, password: PASSWORD }
    await administration.create(operator, { ...account, username: null, roleName: 'user' })
    const input = { identifier: account.email, password: PASSWORD, tokenDelivery: 'BODY' } as const
    const { authentication } = expectType(await one.anonymous.call(LoginDocument, { input }), 'LoginSuccess')
    return createUser(authentication, { account, anonymous: one.anonymous, browser })
  }

  return {
    ...{ servers: [one, two], installation, env, newUser },
    deactivate: (email) => administration.deactivate(operator, email),
  }
}

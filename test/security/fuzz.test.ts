// Every root field that takes an argument, with whatever may be sent there: what is refused has changed nothing, and
// nothing is a surprise. What hostile input becomes where it is accepted: see fuzz-accepted.test.ts.
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { buildSchema, isInterfaceType, isObjectType } from 'graphql'
import { describe, expect, test } from 'vitest'
import { NEXT_PASSWORD, PASSWORD, startApp } from '../support/app.js'
import type { ApiError, Client } from '../support/client.js'
import { FUZZED_FIELDS, type FuzzedField } from '../support/fuzzed-fields.js'
import { AuditLogDocument, RequestPasswordResetDocument, SessionsDocument } from '../support/generated/graphql.js'
import type { Known } from '../support/hostile-values.js'
import { proofOf, SUBJECTS } from '../support/mailbox.js'
import { type Probe, socketProbe, streamProbe } from '../support/probes.js'
import { type RowChange, watchRows } from '../support/row-watch.js'
import type { User } from '../support/user.js'

/** Calls of each field by each caller: a query costs little. */
const RUNS = { query: 90, mutation: 25, subscription: 25 }

// A long text is to reach whoever judges it, not the limit of the body; a lock is to be met, but not at once; and the known
// refresh token is good for as long as this takes.
const env = { MAX_BODY_BYTES: '5000000', LOCKOUT_THRESHOLD: '12', REFRESH_GRACE_PERIOD: '10m' }
const app = await startApp({ env })
const { anonymous } = app
const auditor = await app.auditor()
/** Nobody signs in as him here: nothing that is his may ever change. */
const bystander = await app.newUser({ username: 'bystander' })
/** Whose address, password and tokens the attempts know. */
const victim = await app.newUser({ username: 'victim' })
const waiting = await app.register()
await anonymous.call(RequestPasswordResetDocument, { input: { email: victim.email } })
const reset = proofOf(await app.mail(victim.email, SUBJECTS.reset))
const verification = proofOf(await app.mail(waiting.email, SUBJECTS.verification))
const { edges: events } = await auditor.call(AuditLogDocument, { scope: 'EVERYONE' })
const { edges: sessions } = await victim.call(SessionsDocument)
const cursors = [...events, ...sessions].map(({ cursor }) => cursor)
const rows = await watchRows(app.installation)

const KNOWN: Known = {
  ...{ email: [victim.email, waiting.email, 'nobody@example.com'], identifier: [victim.email, 'victim', 'nobody'] },
  ...{ password: [PASSWORD, PASSWORD, 'not the password of anybody'], currentPassword: [PASSWORD, PASSWORD, 'no'] },
  ...{ newPassword: [NEXT_PASSWORD, 'password'], code: ['000000', '123456'], username: ['victim', 'ada.l', 'Ada_2'] },
  ...{ token: [reset.token, verification.token, victim.accessToken], refreshToken: [victim.refreshToken] },
  ...{ sessionId: [bystander.sessionId], userId: [bystander.id], after: cursors, before: cursors },
  ...{ ipAddress: ['127.0.0.1', '::1'], from: ['2020-01-01T00:00:00Z'], to: ['2100-01-01T00:00:00+02:00'] },
  ...{ firstName: ['Ada'], lastName: ['Lovelace'], displayName: ['Countess'], deviceName: ['Laptop'] },
  ...{ locale: ['de-AT'], timezone: ['Europe/Vienna'], termsAccepted: [true], privacyPolicyAccepted: [true] },
}

/** What the server does by its own clock, whoever calls what meanwhile. */
const BACKGROUND: ((change: RowChange) => boolean)[] = [
  // The queues are polled and looked after, and jobs begin and end. That one comes in is told below.
  ({ table, operation, row }) =>
    table.startsWith('jobs.') && !(operation === 'INSERT' && ['mail-request', 'send-email'].includes(`${row.name}`)),
  // Events that were written before get their places in the log, are judged and signed.
  ({ table, operation }) => table === 'public.audit_inbox' && operation === 'DELETE',
  ({ table }) => ['public.audit_events', 'public.audit_detector', 'public.audit_checkpoints'].includes(table),
  // That a session is used is noted once a minute.
  ({ table, columns }) => table === 'public.sessions' && columns.join() === 'last_activity_at',
]

/** What a call may leave behind that is answered with an error of its result union. */
const TRACES: { of: RegExp; why: string; is: (change: RowChange) => boolean }[] = [
  {
    of: /./,
    why: 'a failure is an event of the audit log',
    is: ({ table, operation, row }) =>
      table === 'public.audit_inbox' && operation === 'INSERT' && row.success === false,
  },
  {
    of: /^login$/,
    why: 'failures count towards a lock, and the one that locks is told by a job',
    is: ({ table, row }) => table === 'public.login_throttles' || (table === 'jobs.job' && row.name === 'mail-request'),
  },
  {
    of: /^changePassword$/,
    why: 'a wrong password counts for its session',
    is: ({ table, row }) => table === 'public.login_throttles' && `${row.key}`.startsWith('session:'),
  },
  {
    of: /^(verifyEmail|resetPassword)$/,
    why: 'a wrong code counts',
    is: ({ table, operation }) => table === 'public.code_guesses' && operation === 'INSERT',
  },
]

/** Mutations that answer a question only. */
const HARMLESS = new Set(['checkPassword', 'verifyToken'])

/** Mutations after which a caller may no longer be signed in, or has another password, or will be signed out after more. */
const ENDS_SESSIONS = new Set(['changePassword', 'terminateAllSessions', 'terminateSession'])

async function changes(): Promise<RowChange[]> {
  return (await rows.take()).filter((change) => !BACKGROUND.some((isBackground) => isBackground(change)))
}

const codesIn = (part = '') => [...part.matchAll(/^\| `([A-Z_]+)` \|/gm)].map(([, code]) => code)
const [, ofMembers, ofErrors] = readFileSync('docs/errors.md', 'utf8').split(/^## /m)
const MEMBER_CODES = codesIn(ofMembers)
const ERROR_CODES = codesIn(ofErrors).filter((code) => !/^(INTERNAL_SERVER_ERROR|SERVICE_UNAVAILABLE)$/.test(`${code}`))

function expectContract({ status, errors }: { status: number; errors: readonly ApiError[] }): void {
  expect(status).toBeLessThan(500)
  for (const error of errors) {
    expect(ERROR_CODES).toContain(error.extensions.code)
    expect(['message', 'locations', 'path', 'extensions']).toEqual(expect.arrayContaining(Object.keys(error)))
    expect(['code', 'issues']).toEqual(expect.arrayContaining(Object.keys(error.extensions)))
    expect(JSON.stringify(error)).not.toMatch(/\\n +at |node_modules|file:\/\//)
  }
}

type Answer = Awaited<ReturnType<Probe>>

/** How the call has ended, and that it has changed no more than it may. */
async function expectNoSurprise({ kind, name }: FuzzedField, answer: Answer): Promise<'refused' | 'declined' | 'done'> {
  expectContract(answer)
  if (answer.errors.length > 0) {
    expect(await changes()).toEqual([])
    return 'refused'
  }
  const result = (answer.data as Record<string, { __typename: string; code?: string }> | null)?.[name]
  if (result?.__typename.endsWith('Error')) {
    expect(MEMBER_CODES).toContain(result.code)
    const allowed = TRACES.filter(({ of }) => of.test(name))
    expect((await changes()).filter((change) => !allowed.some(({ is }) => is(change)))).toEqual([])
    // What a lock is told by comes later.
    if (name === 'login') await settle()
    return 'declined'
  }
  if (kind !== 'mutation' || HARMLESS.has(name)) expect(await changes()).toEqual([])
  else await settle()
  return 'done'
}

/** Lets the work be done that was asked for; none of it concerns somebody else. */
async function settle(): Promise<void> {
  await app.mailsTo('')
  const told = JSON.stringify(await changes())
  for (const id of [bystander.id, bystander.sessionId]) expect(told).not.toContain(id)
}

/** Sends the body of a request as somebody, over one of the ways there are. */
interface Caller {
  send(body: string): Promise<Answer>
  /** Signs in as somebody new. */
  renew(): Promise<void>
}

function callerOf(start: Client | User): Caller {
  let client = start
  return {
    send: (body) => client.post(body),
    async renew() {
      if ('accessToken' in start) client = await app.newUser()
      await rows.take()
    },
  }
}

const bearer = ({ accessToken }: User) => ({ authorization: `Bearer ${accessToken}` })
const subscribed = (send: Probe): Caller => ({ send, renew: async () => {} })

const CALLERS: Record<FuzzedField['kind'], Record<string, () => Promise<Caller>>> = {
  query: {
    'a stranger': async () => callerOf(anonymous),
    'a user': async () => callerOf(victim),
    'an auditor': async () => callerOf(auditor),
  },
  mutation: { 'a stranger': async () => callerOf(anonymous), 'a user': async () => callerOf(await app.newUser()) },
  subscription: {
    'a stranger': async () => subscribed(streamProbe(app.url, {})),
    'a user over a stream': async () => subscribed(streamProbe(app.url, bearer(victim))),
    'an auditor over a stream': async () => subscribed(streamProbe(app.url, bearer(auditor))),
    'a stranger over a socket': async () => subscribed(await socketProbe(app.url, {})),
    'an auditor over a socket': async () => subscribed(await socketProbe(app.url, bearer(auditor))),
  },
}

/** Subscriptions before mutations: those may end the sessions that they need. */
const ORDER = ['query', 'subscription', 'mutation'] as const
const CASES = ORDER.flatMap((kind) =>
  FUZZED_FIELDS.filter((field) => field.kind === kind).flatMap((field) =>
    Object.entries(CALLERS[kind]).map(([who, caller]) => [field.name, who, field, caller] as const),
  ),
)
const fuzzed = new Set<string>()

describe('whatever is sent is answered by the contract, and changes nothing where it is refused', () => {
  test.each(CASES)('%s by %s', async (name, _, field, enrol) => {
    const caller = await enrol()
    await rows.take()
    await fc.assert(
      fc.asyncProperty(field.attempts(KNOWN), async (attempt) => {
        const outcome = await expectNoSurprise(field, await caller.send(field.bodyOf(attempt)))
        if (outcome !== 'refused' && ENDS_SESSIONS.has(name)) await caller.renew()
      }),
      { numRuns: RUNS[field.kind] },
    )
    fuzzed.add(`${field.kind}.${name}`)
  })
})

test('every field of the contract that takes an argument was tried', () => {
  const contract = buildSchema(readFileSync('schema.graphql', 'utf8'))
  const types = Object.values(contract.getTypeMap()).filter((type) => isObjectType(type) || isInterfaceType(type))
  const fields = types
    .filter(({ name }) => !name.startsWith('__'))
    .flatMap((type) =>
      Object.values(type.getFields()).map((field) => [`${type.name.toLowerCase()}.${field.name}`, field] as const),
    )
    .filter(([, { args }]) => args.length > 0)
    .map(([name]) => name)
  expect([...fuzzed].sort()).toEqual(fields.sort())
})

import { PrismaPg } from '@prisma/adapter-pg'
import { expect, onTestFinished, test } from 'vitest'
import { describeFailure } from '../../src/cli/output.js'
import { PrismaClient } from '../../src/generated/prisma/client.js'
import { createLog } from '../../src/infra/log.js'

// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what it looks for
const CONTROLS = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028\u2029]/

const capture = (format: 'json' | 'pretty' = 'json', level: 'info' | 'debug' | 'silent' = 'info') => {
  const lines: string[] = []
  const log = createLog({ level, format }, { write: (line: string) => void lines.push(line) })
  return { log, lines, last: () => JSON.parse(lines.at(-1) ?? '{}') as Record<string, unknown> }
}

test('an entry is one line of JSON with its level, time, message and fields', () => {
  const { log, lines, last } = capture()
  log.warn({ requestId: 'r1', attempt: 2, at: new Date(0) }, 'It happened')
  log.debug({}, 'not this')
  expect(lines).toHaveLength(1)
  expect(last()).toMatchObject({
    level: 'warn',
    msg: 'It happened',
    requestId: 'r1',
    attempt: 2,
    at: '1970-01-01T00:00:00.000Z',
  })
  expect(Number.isNaN(Date.parse(String(last().time)))).toBe(false)
})

test.each([
  'password',
  'newPassword',
  'passwordHash',
  'token',
  'refreshToken',
  'access_token',
  'x-csrf-token',
  'tokens',
  'authorization',
  'Authorization',
  'cookie',
  'set-cookie',
  'clientSecret',
  'api_key',
  'apiKey',
  'code',
])('%s is never written, at any depth', (name) => {
  const { log, lines } = capture()
  const secret = { [name]: 'hunter2-of-alice' }
  log.info({ ...secret, input: secret, list: [{ deep: { deeper: secret } }] }, 'fields')
  expect(lines).toHaveLength(1)
  expect(lines.join()).not.toContain('hunter2')
  expect(lines.join()).toContain('[redacted]')
})

test('one-time codes are left out, error codes are not', () => {
  const { log, last } = capture()
  const [a, e] = [{ code: '123456' }, { code: 123_456 }]
  const err = Object.assign(new Error('It broke'), a)
  log.info({ a, e, b: { code: 'RATE_LIMITED' }, c: { code: '23505' }, d: { code: 4403 }, err }, 'codes')
  expect(JSON.stringify(last().err)).not.toContain('123456')
  expect(last()).toMatchObject({
    a: { code: '[redacted]' },
    e: { code: '[redacted]' },
    b: { code: 'RATE_LIMITED' },
    c: { code: '23505' },
    d: { code: 4403 },
  })
})

test('a secret that looks like an error code is a secret', () => {
  const { log, last } = capture()
  log.info({ password: 'HUNTER2', token: '23505', cookie: 4403 }, 'fields')
  expect(last()).toMatchObject({ password: '[redacted]', token: '[redacted]', cookie: '[redacted]' })
})

test('that there is no secret, or whether there is one, is written; lists stay lists', () => {
  const { log, last } = capture()
  const fields = { password: null, hasToken: true, ports: [4000, 4001] }
  log.info(fields, 'fields')
  expect(last()).toMatchObject(fields)
})

test('of a URL that has an at sign in its password nothing of that is written', () => {
  const { log, lines } = capture()
  log.info({ reason: 'connect to postgres://app:half@hunter2@db:5432/app failed' }, 'failed')
  expect(lines.join()).not.toContain('hunter2')
  expect(lines.join()).toContain('@db:5432/app failed')
})

test('of an error only what is known to be safe is written, with its causes', () => {
  const { log, lines, last } = capture()
  const cause = Object.assign(new Error('connect to postgres://app:s3cr3t@db:5432/app failed'), {
    code: 'ECONNREFUSED',
  })
  const error = Object.assign(new TypeError('It broke', { cause }), { command: { args: ['s3cr3t'] } })
  log.error({ err: error }, 'failed')
  expect(last()).toMatchObject({
    err: { type: 'TypeError', message: 'It broke', cause: { type: 'Error', code: 'ECONNREFUSED' } },
  })
  expect(lines.join()).not.toContain('s3cr3t')
  expect(lines.join()).toContain('log.test.ts')
})

test('of an error that stands for several, as of a host with two addresses, each is written', () => {
  const { log, lines, last } = capture()
  const refused = Object.assign(new Error('connect to redis://:s3cr3t@[::1]:6379 failed'), { code: 'ECONNREFUSED' })
  log.error({ err: new AggregateError([refused, new Error('and another')]) }, 'failed')
  expect(last()).toMatchObject({ err: { errors: [{ code: 'ECONNREFUSED' }, { message: 'and another' }] } })
  expect(lines.join()).not.toContain('s3cr3t')
})

test('of an argument that Prisma refuses only the name is written, and nothing of the others', async () => {
  const { log, lines, last } = capture()
  const prisma = new PrismaClient({ adapter: new PrismaPg({ connectionString: 'postgresql://localhost:1' }) })
  onTestFinished(() => prisma.$disconnect())
  const data = {
    email: 'ada@example.com',
    emailNormalized: 'ada@example.com',
    passwordHash: '$argon2id$hunter2',
    passwordChangedAt: new Date(),
  }
  const refused = prisma.user.create({ data: { ...data, pendingUntil: new Date(Number.NaN) } })
  const error: Error = await refused.catch((reason) => reason)
  expect(error.message).toContain('hunter2')
  log.error({ err: new Error('It broke', { cause: error }), reason: String(error) }, 'failed')
  const named = 'PrismaClientValidationError: Invalid value for argument `pendingUntil`'
  const cause = { type: error.name, message: 'Invalid value for argument `pendingUntil`' }
  expect(last()).toMatchObject({ err: { cause }, reason: named })
  expect(lines.join()).toContain(`"stack":"${named}\\n    at `)
  expect(lines.join()).not.toMatch(/hunter2|ada@example/)
  expect(describeFailure(error)).toBe(cause.message)
})

test('circular fields do not break the log', () => {
  const { log, last } = capture()
  const loop: Record<string, unknown> = { name: 'loop' }
  loop.self = loop
  log.info({ loop }, 'circular')
  expect(last()).toMatchObject({ msg: 'circular', loop: { name: 'loop' } })
})

test('email addresses stay', () => {
  const { log, last } = capture()
  log.info({ email: 'alice@example.com', url: 'https://example.com/x@y' }, 'sent')
  expect(last()).toMatchObject({ email: 'alice@example.com', url: 'https://example.com/x@y' })
})

test('the pretty format writes at once, for people, and is as discreet', () => {
  const { log, lines } = capture('pretty')
  log.info({ port: 4000, password: 'hunter2' }, 'Listening')
  expect(lines.join('')).toContain('Listening')
  expect(lines.join('')).toContain('4000')
  expect(lines.join('')).not.toContain('hunter2')
})

test.each(['json', 'pretty'] as const)('no entry has signs that a terminal obeys, as %s', (format) => {
  const { log, lines } = capture(format)
  const claimed = '\u009b31m\u001b]0;title\u0007\u2028'
  log.warn({ claimed, err: new Error(claimed, { cause: new Error(claimed) }), list: [claimed] }, 'Something came')
  expect(lines.join('')).toContain('\\u009b31m')
  expect(lines.join('')).not.toMatch(CONTROLS)
  if (format === 'json') expect(JSON.parse(lines[0] ?? '')).toMatchObject({ claimed, err: { message: claimed } })
})

test('silent is silent', () => {
  const { log, lines } = capture('json', 'silent')
  log.error({}, 'nothing')
  expect(lines).toHaveLength(0)
})

import { type DestinationStream, type Logger, pino, stdTimeFunctions } from 'pino'
import { prettyFactory } from 'pino-pretty'
import type { Config } from '../config.js'
import type { Log } from '../ports.js'
import { createLogOutput } from './log-output.js'

/** A standard stream of the process, or anything that takes lines. */
type Target = { fd: number } | DestinationStream

/** What JSON leaves as it is, and some terminals obey; strangers choose what stands in some fields. */
export const CONTROLS = /[\u007f-\u009f\u2028\u2029]/g
const escaped = (sign: string) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, '0')}`
export const withoutControls = (json: string): string => json.replace(CONTROLS, escaped)

const SECRET_NAME =
  /(passwords?|tokens?|(?:password|token|code)_?hash|secrets?|authorization|cookies?|api[_-]?key)$|^code$/i
const REDACTED = '[redacted]'
const DEEPEST = 6

/** Error codes (`SERVICE_UNAVAILABLE`, `P2002`, SQLSTATE, close codes) share their name with one-time codes. */
const isErrorCode = (value: unknown) =>
  (typeof value === 'string' && /^([A-Z][A-Z0-9_]*|\d{5})$/.test(value)) ||
  (typeof value === 'number' && value < 100_000)

const isHarmless = (name: string, value: unknown) =>
  value === null || value === undefined || typeof value === 'boolean' || (name === 'code' && isErrorCode(value))

/** `scheme://user:password@host` happens in messages of drivers. */
const withoutCredentials = (text: string) =>
  text.includes('://') ? text.replace(/:\/\/[^\s/@:]{0,256}:[^\s/]{0,1024}@/g, `://${REDACTED}@`) : text

const REFUSAL = 'PrismaClientValidationError'

/**
 * Where Prisma refuses an argument, it says what all of them are, up to the last paragraph: this one names what is refused and,
 * behind a colon, may quote it.
 */
const withoutArguments = (text: string) =>
  text.replace(/^(PrismaClientValidationError: )?[\s\S]*\n\n([^\n:]*)[^\n]*/, '$1$2')

const redactText = (text: string) => withoutCredentials(text.startsWith(`${REFUSAL}:`) ? withoutArguments(text) : text)

/** What an error says, without what nobody else is to see. */
export const safeMessageOf = ({ name, message }: Error): string =>
  withoutCredentials(name === REFUSAL ? withoutArguments(message) : message)

/** Only what is known to be safe: drivers hang whole commands, with their arguments, on their errors. */
function describeError(error: Error, depth: number): object {
  const { code, cause } = error as { code?: unknown; cause?: unknown }
  return {
    type: error.name,
    message: safeMessageOf(error),
    ...(code !== undefined && isErrorCode(code) && { code }),
    stack: redactText(error.stack ?? ''),
    ...(cause !== undefined && { cause: redact(cause, depth + 1) }),
    ...(error instanceof AggregateError && { errors: error.errors.map((each) => redact(each, depth + 1)) }),
  }
}

function redact(value: unknown, depth = 0): unknown {
  if (typeof value === 'string') return redactText(value)
  if (typeof value !== 'object' || value === null || value instanceof Date) return value
  if (depth > DEEPEST) return '[deeper]'
  if (value instanceof Error) return describeError(value, depth)
  if (Array.isArray(value)) return value.map((item) => redact(item, depth + 1))
  return redactFields(value, depth)
}

function redactFields(fields: object, depth = 0): Record<string, unknown> {
  const entries = Object.entries(fields).map(([name, value]) => {
    const isSecret = SECRET_NAME.test(name) && !isHarmless(name, value)
    return [name, isSecret ? REDACTED : redact(value, depth + 1)]
  })
  return Object.fromEntries(entries)
}

function wrap(logger: Logger): Log {
  const at = (level: 'debug' | 'info' | 'warn' | 'error') => (fields: object, message: string) =>
    logger[level](fields, message)
  return {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
  }
}

/**
 * Writes one line for each entry, to standard output unless a target is given. Values under names such as `password`,
 * `refreshToken` or `cookie` are left out at any depth, and of errors only name, message, code, stack and cause are kept.
 */
export function createLog({ level, format }: Config['log'], target: Target = process.stdout): Log {
  const options = {
    level,
    base: { pid: process.pid },
    timestamp: stdTimeFunctions.isoTime,
    // The formatter below has already described it.
    serializers: { err: (error: unknown) => error },
    formatters: { level: (label: string) => ({ level: label }), log: (fields: object) => redactFields(fields) },
  }
  const onLoss = (lines: number) => log.warn({ lines }, 'Lines of the log are lost: they could not be written')
  const output = 'fd' in target ? createLogOutput(target, onLoss) : target
  const prettify = prettyFactory({ ignore: 'pid', translateTime: 'SYS:HH:MM:ss.l' })
  const show = format === 'json' ? (line: string) => line : prettify
  const log = wrap(pino(options, { write: (line) => output.write(withoutControls(show(line))) }))
  return log
}

// The kinds of values that settings have.

import { createHash } from 'node:crypto'
import { closeSync, openSync, readFileSync, readSync, statSync } from 'node:fs'
import { BlockList, isIP } from 'node:net'
import ms, { type StringValue } from 'ms'
import { z } from 'zod'

/** A duration such as `900s`, `15m`, `1h` or `14d`, in milliseconds. Dates that are more than a century away cannot be stored. */
export const duration = (initial: StringValue, minimumMs = 1000, maximum: StringValue = '36500d') =>
  z
    .string()
    .regex(/^\d+(ms|s|m|h|d)$/, 'must be a duration such as 900s, 15m, 1h or 14d')
    .default(initial)
    .transform((text) => ms(text as StringValue))
    .refine((value) => value <= ms(maximum), `must be at most ${maximum}`)
    .refine((value) => value >= minimumMs, `must be at least ${ms(minimumMs)}`)
export const integer = (initial: number, min: number, max: number) =>
  z
    .string()
    .regex(/^\d+$/, 'must be a whole number')
    .default(String(initial))
    .transform(Number)
    .pipe(z.number().min(min, `must be at least ${min}`).max(max, `must be at most ${max}`))
export const flag = z.enum(['true', 'false'], 'must be true or false')
export const oneOf = <const Values extends readonly string[]>(...values: Values) =>
  z.enum(values, `must be one of ${values.join(', ')}`)
const toList = (text: string) =>
  text
    .split(',')
    .map((item) => item.trim())
    .filter(Boolean)
/** None, unless something is given. */
export const listOf = <Item extends z.ZodType<unknown, string>>(item: Item) =>
  z.string().default('').transform(toList).pipe(z.array(item))
export const url = (...protocols: string[]) =>
  z
    .string()
    .refine((text) => URL.canParse(text) && protocols.some((one) => text.toLowerCase().startsWith(`${one}//`)), {
      error: `must be a URL that starts with ${protocols.map((protocol) => `${protocol}//`).join(' or ')}`,
      // What follows can take it for a URL.
      abort: true,
    })
export const mailServer = url('smtp:', 'smtps:')
  .refine((text) => new URL(text).hostname !== '', 'must name a host')
  // The client's own, which says what it sends.
  .refine(
    (text) => !new URL(text).searchParams.has('logger'),
    'must have no logger: it would write every mail, and the tokens in it, to the log',
  )

/** The number of a database as the client reads it; null where there is none. */
function databaseOf(url: string): string | null {
  const { pathname, searchParams } = new URL(url)
  return pathname.slice(1) || searchParams.get('db')
}
/** One server or, as a list, the nodes of a Cluster. */
export const redisUrls = z
  .string()
  .transform(toList)
  .pipe(
    z
      .array(
        url('redis:', 'rediss:')
          .refine(
            (text) => /^\d+$/.test(databaseOf(text) ?? '0'),
            'must have no path but the number of a database, such as redis://127.0.0.1:6379/1',
          )
          // The client takes REDISS: for a way without TLS.
          .transform((text) => text.replace(/^\w+/, (scheme) => scheme.toLowerCase())),
      )
      .min(1, 'is empty')
      .refine(
        (list) => list.length === 1 || list.every((text) => Number(databaseOf(text) ?? '0') === 0),
        'must name no database: several nodes mean a Cluster, which has only database 0',
      ),
  )
export const secrets = z
  .string()
  .transform(toList)
  .pipe(
    z.array(z.string().refine((key) => Buffer.byteLength(key) >= 32, 'must have at least 32 bytes')).min(1, 'is empty'),
  )
export const base = url('http:', 'https:')
  .refine((text) => !/[?#]/.test(text), 'must have no query and no fragment')
  .refine((text) => !/^\w+:\/\/[^/]*@/.test(text), 'must have no user and no password')
  .transform((text) => text.replace(/\/+$/, ''))
export const mailbox = z
  .string()
  .regex(/^([^<>]*<[^<>@\s]+@[^<>@\s]+>|[^<>@\s]+@[^<>@\s]+)$/, 'must be an address, such as Name <name@example.com>')
  .regex(/^[^\p{Cc}\p{Zl}\p{Zp}]*$/u, 'must be one line of text')
export const text = z.string().regex(/\S/, 'must not be blank')
/** As a header can bring it: blanks at its ends are cut off on the way. */
export const headerValue = z
  .string()
  .regex(/^[!-~]([ -~]*[!-~])?$/, 'must be ASCII without control characters, and without blanks at its ends')
export const bearerToken = z
  .string()
  .regex(/^[A-Za-z0-9._~+/-]+=*$/, 'must have letters, digits and ._~+/- only, and = at its end, as Bearer tokens do')
/** One line for people, without what hides or reorders text. */
export const line = (max: number) =>
  z
    .string()
    .trim()
    .regex(/^[^\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+$/u, 'must be one line of text')
    .max(max, `must have at most ${max} characters`)
export const origins = z
  .string()
  .transform(toList)
  .pipe(
    z.array(
      url('http:', 'https:')
        .refine((text) => new URL(text).origin === text, 'must be an exact origin, without a path')
        .refine((text) => !text.includes('*'), 'must be an exact origin: * stands for nothing'),
    ),
  )
const WIDEST = { IPv4: 8, IPv6: 7 } as const
/** IPv4 addresses as IPv6 writes them: so they are trusted, too. */
const MAPPED = { address: '::ffff:0.0.0.0', bits: 96 } as const

/** Whether a range has more addresses than anybody's own network. */
function isTooWide(range: string): boolean {
  const [address = '', bits] = range.split('/')
  if (bits === undefined) return false
  if (isIP(address) === 4) return Number(bits) < WIDEST.IPv4
  const around = new BlockList()
  around.addSubnet(address, Math.min(Number(bits), MAPPED.bits), 'ipv6')
  return Number(bits) < (around.check(MAPPED.address, 'ipv6') ? MAPPED.bits + WIDEST.IPv4 : WIDEST.IPv6)
}
export const cidr = z
  .string()
  .refine(
    (text) => {
      const [address = '', bits, ...rest] = text.split('/')
      const width = isIP(address) === 6 ? 128 : 32
      return (
        isIP(address) !== 0 &&
        rest.length === 0 &&
        (bits === undefined || (/^\d+$/.test(bits) && Number(bits) <= width))
      )
    },
    { error: 'must be addresses or CIDR ranges', abort: true },
  )
  .refine(
    (text) => !isTooWide(text),
    `must have no range wider than /${WIDEST.IPv4}, of IPv6 /${WIDEST.IPv6}: whoever is in one can claim any address`,
  )

/** Where the description of a database in MaxMind's format begins: so near the end of the file. */
const METADATA = { marker: '\xab\xcd\xefMaxMind.com', maxBytes: 128 * 1024 } as const

function endOf(path: string, maxBytes: number): Buffer {
  const found = statSync(path)
  if (!found.isFile()) throw new Error('it is no file')
  const file = openSync(path, 'r')
  try {
    const bytes = Buffer.alloc(Math.min(found.size, maxBytes))
    readSync(file, bytes, 0, bytes.length, found.size - bytes.length)
    return bytes
  } finally {
    closeSync(file)
  }
}
/** The path of a file that looks like a database in MaxMind's format; whether it is whole shows when it is opened. */
export const placeDatabase = z.string().transform((path, context) => {
  try {
    if (endOf(path, METADATA.maxBytes).includes(METADATA.marker, 0, 'latin1')) return path
    context.addIssue(`${path} cannot be read as a MaxMind database`)
  } catch (error) {
    context.addIssue(`${path} cannot be read as a MaxMind database: ${(error as Error).message}`)
  }
  return z.NEVER
})

const operations = z.record(z.string().regex(/^[0-9a-f]{64}$/, 'must be a SHA-256 in hex'), z.string().min(1))
const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')

/** The path of a JSON file that has documents by their SHA-256. */
export const persistedOperations = z.string().transform((path, context) => {
  try {
    const documents = operations.parse(JSON.parse(readFileSync(path, 'utf8')))
    const wrong = Object.entries(documents).find(([hash, document]) => sha256(document) !== hash)
    if (!wrong) return new Map(Object.entries(documents))
    context.addIssue(`${wrong[0]} is not the SHA-256 of its document`)
  } catch (error) {
    const reason = error instanceof z.ZodError ? error.issues[0]?.message : (error as Error).message
    context.addIssue(`must be the path of a JSON file with documents by their SHA-256 (${reason})`)
  }
  return z.NEVER
})

/** Whether a host is this machine; none, and a directory, stand for a socket of it. */
export const isLocalHost = (host: string): boolean => /^(localhost|127(\.\d+){3}|\[?::1\]?|\/.*|)$/.test(host)
export const isLoopback = (url: string): boolean => isLocalHost(new URL(url).hostname)

/** The value, which nobody can change any more at any depth. */
export function deepFreeze<T extends object>(value: T): Readonly<T> {
  for (const child of Object.values(value)) if (child && typeof child === 'object') deepFreeze(child)
  return Object.freeze(value)
}

// Hostile values for the types of the schema: what fits them, what nearly does, and what does not at all.
import fc from 'fast-check'
import { type GraphQLInputType, isEnumType, isInputObjectType, isListType, isNonNullType } from 'graphql'

/** Values that are good, by the name of the argument or of the field of an input. */
export type Known = Readonly<Record<string, readonly unknown[]>>

const cursor = (key: string) => Buffer.from(key).toString('base64url')
/** A number that JavaScript cannot write. */
const raw = (token: string) => `#raw#${token}#`
/** The token of such a number, as it is to be sent. */
export const tokenOf = (value: string): string | undefined => /^#raw#(.*)#$/.exec(value)?.[1]
/** JSON in which such numbers stand as they are. */
export const toJson = (value: unknown): string => JSON.stringify(value).replaceAll(/"#raw#([^"#]*)#"/g, '$1')
const MANY = 100_000

const NIL = '00000000-0000-0000-0000-000000000000'
const INSTANTS = [
  ...['0000-01-01T00:00:00Z', '0000-01-01T00:00:00+23:59', '9999-12-31T23:59:59-23:59', '2016-12-31T23:59:60Z'],
  ...['2020-02-30T00:00:00Z', '2020-01-01', '2020-01-01T00:00:00', '1', '+010000-01-01T00:00:00Z'],
]
const CURSORS = [
  ...['audit:0', 'audit:-1', 'audit:01', 'audit:1e3', 'audit:999999999999999999', `audit:${'9'.repeat(30)}`, 'audit:'],
  ...[
    'audit:1\u0000',
    'sessions:',
    `sessions:0:${NIL}`,
    `sessions:99999999999999:${NIL}`,
    `sessions:1:${'-'.repeat(36)}`,
  ],
  ...[`sessions:${'9'.repeat(20)}:${NIL}`, `sessions:-1:${NIL}`, `sessions:1:${NIL}0`],
].map(cursor)
/** What is hostile in one place only, by the name of the argument or of the field of an input. */
const SPECIAL: Known = { after: CURSORS, before: CURSORS, from: INSTANTS, to: INSTANTS }

const TEXTS = [
  ...[
    '',
    ' ',
    '\u0000',
    'a\u0000b',
    '\u0007\u001b[31m',
    '\r\nBcc: eve@example.com',
    '\u0085',
    '\u2028',
    '\uFEFF',
    '\uFFFE',
  ],
  ...['\uD800', 'a\uDFFFb', '\uDC00\uD800', '\u202Egnp.exe', '\u2066a\u2069', '\u200B', 'ａｄｍｉｎ', 'ﬁ', 'İ', 'ß'],
  ...[
    'e\u0301',
    'Z\u0351\u036B\u0343'.repeat(20),
    '👩‍👩‍👧‍👦',
    '𝒳',
    '\u{10FFFF}',
    '١٢٣٤٥٦',
    'é'.repeat(5000),
    'x'.repeat(MANY),
  ],
  ...[
    "' OR 1=1 --",
    "'; DROP TABLE users; --",
    '\\',
    '"',
    '`',
    '$1',
    '%',
    '_',
    'a%',
    "E'\\x00'",
    '{}',
    '{"a":1}',
    '[',
    'null',
  ],
  ...[
    '../../etc/passwd',
    'C:\\con',
    '%00',
    '%2e%2e/',
    '$(id)',
    '`id`',
    '#{7*7}',
    '{{7*7}}',
    '%s%s%n',
    '%n%x',
    '<script>',
  ],
  ...['undefined', 'NaN', '-0', '1e999', '0x10', '2147483648', '9'.repeat(40), '__proto__', 'constructor', 'toString'],
  ...[
    '@',
    'a@b',
    `${'x'.repeat(64)}@example.com`,
    'a@b.example',
    'ｅｖｅ@example.com',
    '"a b"@example.com',
    'a@[127.0.0.1]',
  ],
  ...[NIL, 'ffffffff-ffff-ffff-ffff-ffffffffffff', '::ffff:127.0.0.1', 'fe80::1%eth0'],
  ...[
    'a.b.c',
    'eyJhbGciOiJub25lIn0.e30.',
    'A'.repeat(43),
    'x-private',
    'i-klingon',
    'en-u-ca-buddhist',
    'Etc/GMT+12',
    '+23:59',
  ],
]
const NUMBERS = [
  ...[0, 1, -1, 101, 50_001, 2 ** 31 - 1, 2 ** 31, -(2 ** 31), -(2 ** 31) - 1, 2 ** 32, 2 ** 53, 1.5, 1e300],
  ...['-0', '1e999', '-1e999', '1e-400', '0.1e1', '9'.repeat(400)].map(raw),
]
/** What nobody types. */
export const hostileText = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(...TEXTS) },
  fc.string({ unit: 'binary', maxLength: 60 }),
  fc.string({ unit: 'grapheme', maxLength: 60 }),
)
const number = fc.oneof(fc.constantFrom<unknown>(...NUMBERS), fc.integer(), fc.double())
const ODD = [
  ...[null, true, false, [], {}, [[]], [null], { length: 1 }, JSON.parse('{"__proto__":{"isAdmin":true},"a":1}')],
  ...[new Array(20_000).fill(0), new Array(200).fill('LOGIN_FAILED'), new Array(2000).fill({}), { toString: 'x' }],
]
const anything = fc.oneof(
  hostileText,
  number,
  fc.constantFrom<unknown>(...ODD),
  fc.array(hostileText, { maxLength: 3 }),
)

/** A value that is good, or looks so. */
function good(type: GraphQLInputType, name: string, known: Known): fc.Arbitrary<unknown> {
  if (isNonNullType(type)) return good(type.ofType, name, known)
  if (known[name]) return fc.constantFrom(...known[name])
  if (isListType(type)) return fc.array(good(type.ofType, name, known), { maxLength: 3 })
  if (isEnumType(type)) return fc.constantFrom(...type.getValues().map((value) => value.name))
  if (isInputObjectType(type)) return mix(type.getFields(), known, fc.constant([]))
  if (type.name === 'Boolean') return fc.constantFrom(true, true, true, false)
  return type.name === 'Int' ? fc.integer({ min: 1, max: 50 }) : hostileText
}

/** A value of the type with something wrong in it, or one that has nothing to do with the type. */
function bad(type: GraphQLInputType, name: string, known: Known): fc.Arbitrary<unknown> {
  if (isNonNullType(type)) return bad(type.ofType, name, known)
  if (isListType(type)) return fc.oneof(fc.array(bad(type.ofType, name, known), { maxLength: 3 }), anything)
  if (isInputObjectType(type)) {
    const mixed = mix(type.getFields(), known, someOf(Object.keys(type.getFields())))
    return fc.oneof({ weight: 12, arbitrary: mixed }, anything)
  }
  const special = fc.constantFrom(...(SPECIAL[name] ?? TEXTS))
  const fitting = type.name === 'Int' ? number : fc.oneof(special, hostileText)
  return fc.oneof({ weight: 8, arbitrary: fitting }, anything)
}

type Slots = Readonly<Record<string, { type: GraphQLInputType }>>
type Make = (type: GraphQLInputType, name: string, known: Known) => fc.Arbitrary<unknown>
const recordOf = (slots: Slots, known: Known, make: Make) =>
  Object.fromEntries(Object.entries(slots).map(([name, { type }]) => [name, make(type, name, known)]))

/** Which values are bad: one or two, so that each is looked at where the others are good, or all of them. */
export const someOf = (names: string[]) =>
  fc.oneof(
    { weight: 9, arbitrary: fc.subarray(names, { minLength: 1, maxLength: Math.min(2, names.length) }) },
    { weight: 2, arbitrary: fc.constant<string[]>([]) },
    fc.constant(names),
  )

/** Good and bad values side by side. What need not be given is left out at random. */
export function mix(slots: Slots, known: Known, wrong: fc.Arbitrary<string[]>): fc.Arbitrary<Record<string, unknown>> {
  const names = Object.keys(slots)
  const optional = names.filter((name) => slots[name] && !isNonNullType(slots[name].type))
  const parts = [fc.record(recordOf(slots, known, good)), fc.record(recordOf(slots, known, bad))] as const
  const absent = fc.oneof(fc.constant<string[]>([]), { weight: 3, arbitrary: fc.subarray(optional) })
  return fc.tuple(...parts, wrong, absent).map(([goods, bads, isBad, isAbsent]) => {
    const kept = names.filter((name) => !isAbsent.includes(name))
    return Object.fromEntries(kept.map((name) => [name, (isBad.includes(name) ? bads : goods)[name]]))
  })
}

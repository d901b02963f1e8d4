// Rules about the shape of input: what can be said without looking anything up.
import { isIP } from 'node:net'
import { z } from 'zod'
import { canonicalAddress, normalizeUsername, withAsciiDomain } from '../identifiers.js'

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for
const CONTROL_CHARACTERS = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\ufeff\ufff9-\uffff]/
/** Anything but spaces, what is made to be ignored, and the Braille pattern without a dot. */
const VISIBLE = /[^\p{White_Space}\p{Default_Ignorable_Code_Point}\u2800]/u

const wellFormed = (text: z.ZodString) => text.refine((text) => text.isWellFormed(), 'Must be well-formed Unicode.')
const printable = (text: z.ZodString) =>
  wellFormed(text).refine((text) => !CONTROL_CHARACTERS.test(text), 'Must not contain control characters.')

/** For a field that may be left out or null. */
export const optional = <T extends z.ZodType>(field: T) => field.nullish()

/** The rules of an input type: whatever is wrong with it is reported together. */
export const shape = <T extends z.ZodRawShape>(fields: T, whole: (input: never) => string | null = () => null) =>
  z.looseObject(fields).superRefine((input, context) => {
    const message = whole(input as never)
    if (message) context.addIssue({ code: 'custom', message })
  })

/** Text for people: at least one character that they see, no control characters. */
const text = (maxLength: number) =>
  printable(z.string().max(maxLength, `Must have at most ${maxLength} characters.`)).refine(
    (text) => VISIBLE.test(text),
    'Must not be empty.',
  )

/** As zod has it, and also where the last part of the domain is no word in ASCII: .рф is .xn--p1ai. */
const EMAIL = /^(?:[\w'+-]+\.)*[\w'+-]*[\w+-]@(?:[a-z0-9][a-z0-9-]*\.)+(?:[a-z]{2,}|xn--[a-z0-9-]*[a-z0-9])$/i
const atMost254 = z.string().max(254, 'Must have at most 254 characters.')
export const email = printable(atMost254)
  .transform(withAsciiDomain)
  .pipe(atMost254)
  .pipe(z.email({ pattern: EMAIL, error: 'Must be an e-mail address.' }))
/** Of an account to be: no mail server has to take a longer local part (RFC 5321, section 4.5.3.1.1). */
export const newEmail = email.refine(
  (address) => address.lastIndexOf('@') <= 64,
  'Must have at most 64 characters before the @.',
)

// Nothing that is made to be ignored, though it may be a letter or a mark: with it, two names would be one to the eye.
const USERNAME = /^(?!.*\p{Default_Ignorable_Code_Point})[\p{L}\p{N}][\p{L}\p{N}\p{M}._-]{2,31}$/u
/** As typed, and as it is compared: a single letter may stand for many. */
export const username = z.string().refine((name) => USERNAME.test(name) && USERNAME.test(normalizeUsername(name)), {
  error: 'Must have 3 to 32 letters, digits, dots, hyphens or underscores, and begin with a letter or a digit.',
})

export const identifier = text(254)
export const name = text(100)
export const deviceName = text(100)

/** Anything goes in a password; the policy judges it. This only bounds the work. */
export const password = wellFormed(
  // A half of a character is hashed like any other half.
  z.string().min(1, 'Must not be empty.').max(1024, 'Must have at most 1024 characters.'),
)

/** An opaque token of ours. One that is too long to be ours is answered like any other unknown token. */
export const token = z.string().min(1, 'Must not be empty.').max(8192, 'Must have at most 8192 characters.')
export const code = z.string().regex(/^\d{6}$/, 'Must be six digits.')
export const uuid = z.guid('Must be a UUID.').toLowerCase()
export const ipAddress = z
  .string()
  .refine((address) => isIP(address) !== 0, 'Must be an IP address.')
  .transform(canonicalAddress)

export const locale = text(35).refine(isLocale, 'Must be a BCP 47 language tag, such as en or de-AT.')
export const timezone = text(64).refine(isTimezone, 'Must be an IANA time zone, such as Europe/Vienna.')

export const accepted = z.literal(true, 'Must be accepted.')

/** How many of something, one at least. */
export const count = (max: number) => z.int().min(1, 'Must be at least 1.').max(max, `Must be at most ${max}.`)
/** Page sizes of connections. */
const pageSize = optional(count(100))
export const pageArgs = z.looseObject({ first: pageSize, last: pageSize })

function isLocale(tag: string): boolean {
  try {
    return Intl.getCanonicalLocales(tag).length === 1
  } catch {
    return false
  }
}

function isTimezone(zone: string): boolean {
  try {
    new Intl.DateTimeFormat('en', { timeZone: zone })
    return true
  } catch {
    return false
  }
}

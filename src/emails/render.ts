import { english } from './english.js'
import type { Content, EmailData, EmailKind, Formats, Instant, Language } from './kinds.js'
import { type Letter, layOutHtml, layOutText } from './layout.js'
import { clean, safeName } from './names.js'

/** By the first part of the language tag. A translation is one more file like english.ts and one more line here. */
const LANGUAGES: Readonly<Record<string, Language>> = { en: english }

export interface Recipient {
  displayName: string
  /** BCP 47. */
  locale: string
  /** IANA. */
  timezone: string
}

export interface RenderedEmail {
  subject: string
  text: string
  html: string
}

function dateFormat(locale: string, timezone: string): Intl.DateTimeFormat {
  const style = { dateStyle: 'full', timeStyle: 'long' } as const
  try {
    return new Intl.DateTimeFormat(locale, { ...style, timeZone: timezone })
  } catch {
    return new Intl.DateTimeFormat(locale, { ...style, timeZone: 'UTC' })
  }
}

const UNITS = [
  ['day', 86_400],
  ['hour', 3600],
  ['minute', 60],
  ['second', 1],
] as const

/** So many seconds may have passed since what is told of began. */
const MOMENT = 15

/** In the largest unit that there are two of, rounded down; "24 hours" rather than "1 day". */
function formatDuration(locale: string, seconds: number): string {
  const whole = Math.max(1, Math.round(seconds))
  const missing = (60 - (whole % 60)) % 60
  const told = missing <= MOMENT ? whole + missing : whole
  const [unit, size] = UNITS.find(([, size]) => told >= 2 * size) ?? ['second', 1]
  return new Intl.NumberFormat(locale, { style: 'unit', unit, unitDisplay: 'long' }).format(Math.floor(told / size))
}

/** The recipient's own region, as long as the mail is in that language; no calendar or digits that others would not know. */
function usableLocale(locale: string, language: Language): string {
  try {
    const { baseName, language: spoken } = new Intl.Locale(locale.replaceAll('_', '-'))
    return spoken === language.tag ? baseName : language.tag
  } catch {
    return language.tag
  }
}

const cleanLink = (link: Content['link']) => link && { label: clean(link.label), url: clean(link.url) }

function toLetter(content: Content, language: Language, recipient: Recipient, productName: string): Letter {
  const link = cleanLink(content.link)
  const closingLink = cleanLink(content.closingLink)
  return {
    language: language.tag,
    greeting: language.greeting(content.isAddressedByName ? safeName(recipient.displayName) : null),
    footer: clean(language.footer(productName)),
    subject: clean(content.subject),
    isAddressedByName: content.isAddressedByName,
    opening: content.opening.map(clean),
    closing: content.closing.map(clean),
    ...(content.code && { code: { label: content.code.label, value: clean(content.code.value) } }),
    ...(content.facts && { facts: content.facts.map(([label, value]) => [label, clean(value)] as const) }),
    ...(link && { link }),
    ...(closingLink && { closingLink }),
  }
}

/**
 * One mail in the recipient's language and timezone. Unknown languages read English, unknown timezones UTC.
 * Nothing that a user has chosen can add markup, headers or lines.
 */
export function renderEmail<K extends EmailKind>(
  kind: K,
  data: EmailData[K],
  recipient: Recipient,
  productName: string,
): RenderedEmail {
  const language = LANGUAGES[recipient.locale.split(/[-_]/)[0]?.toLowerCase() ?? ''] ?? english
  const locale = usableLocale(recipient.locale, language)
  const dates = dateFormat(locale, recipient.timezone)
  const formats: Formats = {
    time: (instant: Instant) => dates.format(new Date(instant)),
    duration: (seconds) => formatDuration(locale, seconds),
  }
  const letter = toLetter(language.emails[kind](data, formats), language, recipient, productName)
  return { subject: letter.subject, text: layOutText(letter), html: layOutHtml(letter) }
}

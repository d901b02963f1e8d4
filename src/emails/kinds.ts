/** A point in time; the string is RFC 3339, because the data of a job is JSON. */
export type Instant = Date | string

/** From where something was done. The device's name is the client's own choice. */
export interface Origin {
  at: Instant
  deviceName: string | null
  ipAddress: string | null
  city: string | null
  country: string | null
}

interface LinkAndCode {
  link: string
  /** Six digits. */
  code: string
  lifetimeSeconds: number
}

/** Ends every session and the password, for an owner who knows nothing of it. */
interface NotMe {
  notMeLink: string
  notMeSeconds: number
}

/** Why a sign-in is suspicious. */
export type Suspicion = 'NEW_COUNTRY' | 'IMPOSSIBLE_TRAVEL' | 'SUCCESS_AFTER_FAILURES'

/** What each kind of mail says. */
export interface EmailData {
  /** From where the registration was made that the mail confirms. */
  'email-verification': LinkAndCode & Origin
  'existing-account': Origin & { loginLink?: string; resetLink: string }
  'password-reset': LinkAndCode
  'password-changed': Origin & NotMe
  'password-reset-completed': Origin & NotMe
  'new-device': Origin & NotMe
  'account-locked': Origin & NotMe & { lockedUntil: Instant; resetLink: string }
  'sessions-ended': Origin & NotMe & { hasGuessed?: boolean; sessionOn?: string | null }
  'password-in-breach': { chosenAt: Instant; resetLink: string }
  'suspicious-login': Origin & NotMe & { reasons: readonly Suspicion[] }
}

export type EmailKind = keyof EmailData

/** The kinds that tell of what somebody else may have done. */
type WithNotMe = { [K in EmailKind]: EmailData[K] extends NotMe ? K : never }[EmailKind]
const WITH_NOT_ME: Record<WithNotMe, true> = {
  'password-changed': true,
  'password-reset-completed': true,
  'new-device': true,
  'account-locked': true,
  'sessions-ended': true,
  'suspicious-login': true,
}
export const hasNotMe = (kind: EmailKind): kind is WithNotMe => Object.hasOwn(WITH_NOT_ME, kind)

/** One mail, before it becomes text and HTML. */
export interface Content {
  subject: string
  /** Mails that anybody can have sent to a stranger carry no name: it would carry the sender's words. */
  isAddressedByName: boolean
  opening: readonly string[]
  code?: { label: string; value: string }
  /** What the mail is for; stands before the closing. */
  link?: { label: string; url: string }
  facts?: readonly (readonly [label: string, value: string])[]
  closing: readonly string[]
  /** For those whom the closing concerns. */
  closingLink?: { label: string; url: string }
}

export interface Formats {
  /** In the recipient's timezone. */
  time(instant: Instant): string
  duration(seconds: number): string
}

/** Everything that one language has to provide. */
export interface Language {
  tag: string
  greeting(name: string | null): string
  footer(productName: string): string
  emails: { readonly [K in EmailKind]: (data: EmailData[K], formats: Formats) => Content }
}

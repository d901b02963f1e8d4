import { createPrivateKey, type JsonWebKey } from 'node:crypto'
import type { QueryResult } from 'pg'
import { createKeyRings } from '../../src/crypto/key-ring.js'
import { open } from '../../src/crypto/secrets.js'

interface Database {
  query(text: string): Promise<QueryResult>
}

/** What a secret is for: tokens that travel by mail may stand in one, all others nowhere. */
type Kind = 'password' | 'session' | 'mailed'

const KINDS: readonly (readonly [RegExp, Kind])[] = [
  [/password$/i, 'password'],
  [/^(accessToken|refreshToken|csrfToken|exchangeToken)$/, 'session'],
  [/^(token|code)$/, 'mailed'],
]
/** Settings that are keys; each may be a list. */
const KEY_SETTINGS = ['SECRET_KEY', 'JWT_SIGNING_KEY', 'CRON_SECRET', 'METRICS_TOKEN']
const COOKIE = /^(?:__Host-)?portcullis_(?:refresh|access|csrf|device)=([^;]+)/
/** Random secrets are words of this length at least; what is shorter would be found by chance. */
const MIN_WORD = 32
const WORD = new RegExp(`[\\w-]{${MIN_WORD},}`, 'g')
const MIN_PASSWORD = 10
/** A secret of few characters, such as 32 times the same, is found in what has nothing to do with it. */
const MIN_CHARACTERS = 8
/**
 * Six digits that stand alone: not those within a longer number, a fraction (as in instants), a hash or an id, nor a
 * colour. Only codes that were mailed are looked for among them, so that a limit of six digits is one by a rare chance.
 */
const SIX_DIGITS = /(?<![\w#]|\d[.-])\d{6}(?!\w|[.-]\d)/g
/** A line break within JSON, which would seem to be a letter in front of what follows. */
const ESCAPED = /\\[nrt]/g
/** What pino says of the process: the one number of up to seven digits that every line has. */
const PROCESS_ID = /"pid":\d+/
/** As the mails show it: on a line of its own. */
const MAILED_CODE = /^[^\S\n]*(\d{6})[^\S\n]*$/gm

const words = new Map<string, Kind>()
/** Passwords and keys: found wherever they are part of a text. */
const phrases = new Set<string>()
const codes = new Set<string>()
const secretKeys = new Set<string>()

const isVaried = (secret: string) => new Set(secret).size >= MIN_CHARACTERS

function noteWords(kind: Kind, parts: readonly string[]): void {
  for (const word of parts) if (word.length >= MIN_WORD && isVaried(word)) words.set(word, kind)
}

function note(kind: Kind, value: string): void {
  if (kind === 'password') {
    if (value.length >= MIN_PASSWORD && isVaried(value)) phrases.add(value)
    return
  }
  const parts = value.split('.')
  // The parts of a token, e.g. the signature of a JWT; its header is nobody's secret.
  noteWords(kind, parts.length > 2 ? parts.slice(1) : parts)
}

/** Remembers every secret that the body of a request or of an answer holds. */
export function noteSecrets(body: unknown): void {
  if (typeof body !== 'object' || body === null) return
  for (const [name, value] of Object.entries(body)) {
    const kind = KINDS.find(([pattern]) => pattern.test(name))?.[1]
    if (kind && typeof value === 'string') note(kind, value)
    else noteSecrets(value)
  }
}

/** Remembers the values of the cookies that an answer sets. */
export function noteCookies({ headers }: Pick<Response, 'headers'>): void {
  for (const cookie of headers.getSetCookie()) {
    const [, value] = COOKIE.exec(cookie) ?? []
    if (value) note('session', decodeURIComponent(value))
  }
}

/** Remembers the six digits of a mail. */
export const noteCode = (code: string): void => void codes.add(code)

/** Remembers the keys among the settings of a server. */
export function noteKeys(settings: Readonly<Record<string, string>>): void {
  for (const name of KEY_SETTINGS) {
    for (const key of settings[name]?.split(',') ?? []) {
      if (name === 'SECRET_KEY' && key) secretKeys.add(key)
      if (isVaried(key)) phrases.add(key)
    }
  }
}

const SIGNING_KEYS = 'SELECT kid, sealed_private AS sealed FROM signing_keys'

/** Remembers what is private of the signing keys that a server has now: as JWK, as hex and as PKCS #8. */
export async function noteSigningKeys(database: Database): Promise<void> {
  const rows: { kid: string; sealed: Buffer }[] = (await database.query(SIGNING_KEYS)).rows
  if (secretKeys.size === 0) return
  const { all } = createKeyRings([...secretKeys])('signing-keys')
  for (const { kid, sealed } of rows) {
    const jwk = JSON.parse(open(all, sealed, `signing-key:${kid}`) ?? '{}') as JsonWebKey
    const { d, p, q, dp, dq, qi } = jwk
    const numbers = [d, p, q, dp, dq, qi].filter((each) => each !== undefined)
    if (!d) continue
    noteWords('session', [...numbers, ...numbers.map((each) => Buffer.from(each, 'base64url').toString('hex'))])
    const der = createPrivateKey({ key: jwk, format: 'jwk' }).export({ type: 'pkcs8', format: 'der' })
    phrases.add(der.toString('base64'))
  }
}

const codesIn = (text: string): string[] =>
  (text.replace(PROCESS_ID, '').match(SIX_DIGITS) ?? []).filter((digits) => codes.has(digits))

/** The secrets that stand in a text where they must not. */
export function secretsIn(written: string, isMail = false): string[] {
  const text = written.replace(ESCAPED, ' ')
  const found = (text.match(WORD) ?? []).filter((word) => {
    const kind = words.get(word)
    return kind !== undefined && !(isMail && kind === 'mailed')
  })
  return [...found, ...[...phrases].filter((phrase) => text.includes(phrase)), ...(isMail ? [] : codesIn(text))]
}

/** What an answer tells people, at any depth: in errors, and in the members of results. */
function messagesIn(body: unknown): unknown[] {
  if (typeof body !== 'object' || body === null) return []
  return Object.entries(body).flatMap(([name, value]) => (name === 'message' ? [value] : messagesIn(value)))
}

/** Fails when an error, or the message of a result, repeats a secret. */
export function expectDiscretion({ data, errors }: { data: unknown; errors: readonly unknown[] }): void {
  const told = JSON.stringify([errors, messagesIn(data)])
  if (secretsIn(told).length > 0) throw new Error(`An answer tells a secret: ${told}`)
}

interface Mail {
  subject: string
  text: string
  html: string
}

const AUDIT = 'SELECT to_json(e)::text AS text FROM audit_events e UNION ALL SELECT to_json(i)::text FROM audit_inbox i'
const MAILS = 'SELECT subject, text, html FROM mailbox_messages'

const mailedCodes = ({ text }: Mail): string[] => [...text.matchAll(MAILED_CODE)].map(([, code = '']) => code)

/** The six digits of a mail belong into its body and nowhere else: not into the subject, and not into another mail. */
function leaksInMail(mail: Mail): string[] {
  const [own] = mailedCodes(mail)
  const strange = codesIn(`${mail.text}\n${mail.html}`).filter((code) => code !== own)
  return [...secretsIn(JSON.stringify(mail), true), ...codesIn(mail.subject), ...strange]
}

/** Fails when a secret that any test of this file has used stands in a log line, an audit row or, against its purpose, in a mail. */
export async function expectNoSecrets(database: Database, lines: readonly string[]): Promise<void> {
  await noteSigningKeys(database)
  const mails: Mail[] = (await database.query(MAILS)).rows
  for (const code of mails.flatMap(mailedCodes)) noteCode(code)
  const audit: string[] = (await database.query(AUDIT)).rows.map(({ text }) => text)
  const leaks = [
    ...lines.filter((line) => secretsIn(line).length > 0),
    ...audit.filter((row) => secretsIn(row).length > 0),
    ...mails.filter((mail) => leaksInMail(mail).length > 0).map((mail) => JSON.stringify(mail)),
  ]
  // Not looked for in what other servers write: of all the codes of a run one would be met by chance sooner or later.
  codes.clear()
  if (leaks.length > 0) throw new Error(`Secrets were written down:\n${leaks.join('\n')}`)
}

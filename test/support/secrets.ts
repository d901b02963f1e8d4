import type pg from 'pg'

/** What a secret is for: tokens that travel by mail may stand in one, all others nowhere. */
type Kind = 'password' | 'session' | 'mailed'

const KINDS: readonly (readonly [RegExp, Kind])[] = [
  [/password$/i, 'password'],
  [/^(accessToken|refreshToken|csrfToken|exchangeToken)$/, 'session'],
  [/^(token|code)$/, 'mailed'],
]
/** Random secrets are words of this length at least; what is shorter would be found by chance. */
const WORD = /[\w-]{32,}/g
const MIN_PASSWORD = 10

const words = new Map<string, Kind>()
const passwords = new Set<string>()

function note(kind: Kind, value: string): void {
  if (kind === 'password' && value.length >= MIN_PASSWORD) passwords.add(value)
  // The parts of a token, e.g. the signature of a JWT; its header is nobody's secret.
  for (const word of kind === 'password' ? [] : value.split('.').slice(value.includes('.') ? 1 : 0)) {
    if (word.length >= 32) words.set(word, kind)
  }
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

/** The secrets that stand in a text where they must not. */
export function secretsIn(text: string, isMail = false): string[] {
  const found = (text.match(WORD) ?? []).filter((word) => {
    const kind = words.get(word)
    return kind !== undefined && !(isMail && kind === 'mailed')
  })
  return [...found, ...[...passwords].filter((password) => text.includes(password))]
}

const AUDIT = 'SELECT to_json(e)::text AS text FROM audit_events e UNION ALL SELECT to_json(i)::text FROM audit_inbox i'
const MAILS = 'SELECT to_json(m)::text AS text FROM mailbox_messages m'

/** Fails when a secret that any test of this file has used stands in a log line, an audit row or, against its purpose, in a mail. */
export async function expectNoSecrets(database: pg.Pool | pg.Client, lines: readonly string[]): Promise<void> {
  const rows = async (query: string) => (await database.query<{ text: string }>(query)).rows.map(({ text }) => text)
  const leaks = [
    ...lines.filter((line) => secretsIn(line).length > 0),
    ...(await rows(AUDIT)).filter((row) => secretsIn(row).length > 0),
    ...(await rows(MAILS)).filter((mail) => secretsIn(mail, true).length > 0),
  ]
  if (leaks.length > 0) throw new Error(`Secrets were written down:\n${leaks.join('\n')}`)
}

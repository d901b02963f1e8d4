// What the doctor looks at: the ways to and from other machines.
import { parse } from 'pg-connection-string'
import type { Config } from '../config.js'
import { isLocalHost, isLoopback } from '../config-values.js'

export interface Check {
  name: string
  /** Requirements of OWASP ASVS 5.0, as in docs/asvs.md. */
  asvs: string
  /** What is wrong, and what to do. */
  problemsOf(config: Config): (string | false | null | undefined)[]
}

export const leavesOpenly = (url: string | undefined, ...secure: string[]) =>
  url !== undefined && !isLoopback(url) && !secure.includes(new URL(url).protocol)

/** The driver goes where `host` says, whatever stands before it. */
function databaseProblem(url: string | undefined): string | null {
  if (!url) return null
  try {
    const { host, ssl = false } = parse(url)
    if (isLocalHost(host || process.env.PGHOST || '')) return null
    if (ssl !== true && typeof ssl !== 'object') return 'DATABASE_URL leaves the machine without sslmode=verify-full'
    const isVerified = ssl === true || (ssl.rejectUnauthorized !== false && !('checkServerIdentity' in ssl))
    return isVerified ? null : 'DATABASE_URL takes whoever answers for the database: use sslmode=verify-full'
  } catch (error) {
    return `DATABASE_URL cannot be read: ${(error as Error).message}`
  }
}

/** What the client makes of the URL: its query counts where nothing stands before it. */
function redisProblem(url: string): string | null {
  const { protocol, hostname, searchParams } = new URL(url)
  const isSecure = protocol === 'rediss:' && searchParams.get('tls') !== ''
  return isSecure || isLocalHost(hostname || searchParams.get('host') || '')
    ? null
    : 'REDIS_URL leaves the machine without rediss:'
}

/** Where TLS is used if it is offered, anybody on the way keeps it from being offered, and reads the links of mails. */
function mailProblem(url: string | undefined): string | null {
  if (!url || isLoopback(url)) return null
  const { protocol, searchParams } = new URL(url)
  const says = (name: string, value: string) => searchParams.getAll(name).includes(value)
  if (protocol !== 'smtps:' && (!says('requireTLS', 'true') || searchParams.has('ignoreTLS')))
    return 'SMTP_URL leaves the machine with TLS only if that is offered: use smtps:, or ?requireTLS=true'
  return says('tls.rejectUnauthorized', 'false') ? 'SMTP_URL takes whoever answers for the mail server' : null
}

export const CONNECTION_CHECKS: readonly Check[] = [
  {
    name: 'TLS for clients',
    asvs: '3.3.1, 4.4.1',
    problemsOf: ({ urls }) => [
      urls.public === undefined && 'PUBLIC_URL is not set: tokens and mails name localhost',
      leavesOpenly(urls.public, 'https:') && 'PUBLIC_URL is not https:',
      leavesOpenly(urls.frontend, 'https:') && 'FRONTEND_URL is not https:, and links of mails carry tokens there',
    ],
  },
  {
    name: 'TLS of origins',
    asvs: '3.4.2, 4.4.2',
    problemsOf: ({ corsOrigins, csrfOrigins }) =>
      Object.entries({ CORS_ALLOWED_ORIGINS: corsOrigins, CSRF_TRUSTED_ORIGINS: csrfOrigins }).map(
        ([name, origins]) =>
          origins?.some((origin) => leavesOpenly(origin, 'https:')) &&
          `${name} has an origin that is not https:, whose pages anybody on the way can change`,
      ),
  },
  {
    name: 'Known proxies',
    asvs: '4.1.3, 6.3.1',
    problemsOf: ({ proxyProblem }) => [proxyProblem],
  },
  {
    name: 'TLS to the database',
    asvs: '11.2.1',
    problemsOf: ({ database }) => [databaseProblem(database.url)],
  },
  {
    name: 'TLS to Redis',
    asvs: '11.2.1',
    problemsOf: ({ redisUrls = [] }) => [...new Set(redisUrls.map(redisProblem))],
  },
  {
    name: 'TLS to the mail server',
    asvs: '11.2.1',
    problemsOf: ({ mail }) => [mailProblem(mail.smtpUrl)],
  },
  {
    name: 'Certificates',
    asvs: '11.2.1',
    problemsOf: () => [
      process.env.NODE_TLS_REJECT_UNAUTHORIZED === '0' &&
        'NODE_TLS_REJECT_UNAUTHORIZED is 0: whoever answers is taken for database, Redis, mail server and breach service',
    ],
  },
]

// What production needs, and what it warns of.
import { isLoopback } from './config-values.js'

/** Settings as they were read. */
interface Settings {
  DATABASE_URL?: string | undefined
  SECRET_KEY?: readonly string[] | undefined
  SMTP_URL?: string | undefined
  PUBLIC_URL?: string | undefined
  FRONTEND_URL?: string | undefined
  MAIL_FROM: string
  RATE_LIMITS?: string | undefined
  TRUSTED_PROXIES: readonly string[]
  CRON_SECRET?: string | undefined
  METRICS_TOKEN?: string | undefined
}

const isText = (text: string | false | undefined): text is string => typeof text === 'string'

/** Whether others on the network read what leads there: links of mails carry tokens. */
const isOpen = (url: string) => new URL(url).protocol === 'http:' && !isLoopback(url)

const MIN_TOKEN = 16

/** Why production does not start. */
export function productionProblems(env: Settings): string[] {
  const urlProblem = (name: 'PUBLIC_URL' | 'FRONTEND_URL') => {
    const url = env[name]
    return url !== undefined && isOpen(url) && `${name}: must be https: in production, unless it is loopback`
  }
  const tokenProblem = (name: 'CRON_SECRET' | 'METRICS_TOKEN') =>
    (env[name]?.length ?? MIN_TOKEN) < MIN_TOKEN && `${name}: must have at least ${MIN_TOKEN} characters in production`
  return [
    !env.DATABASE_URL && 'DATABASE_URL: required in production',
    !env.SECRET_KEY && 'SECRET_KEY: required in production (32 bytes or more, e.g. from `openssl rand -base64 48`)',
    !env.SMTP_URL && 'SMTP_URL: required in production',
    urlProblem('PUBLIC_URL'),
    urlProblem('FRONTEND_URL'),
    tokenProblem('CRON_SECRET'),
    tokenProblem('METRICS_TOKEN'),
    env.RATE_LIMITS === 'off' && 'RATE_LIMITS: cannot be off in production',
  ].filter(isText)
}

/** What production does without, but hardly on purpose. */
export function productionWarnings(env: Settings): string[] {
  return [
    !env.PUBLIC_URL && 'PUBLIC_URL is not set: tokens and the links of mails name localhost',
    /@localhost>?$/.test(env.MAIL_FROM) && 'MAIL_FROM ends with @localhost: mail servers refuse such mails',
  ].filter(isText)
}

/** What is wrong with TRUSTED_PROXIES; null where that cannot be seen from here. */
export const proxyProblem = ({ PUBLIC_URL, TRUSTED_PROXIES }: Settings): string | null =>
  PUBLIC_URL?.startsWith('https:') && TRUSTED_PROXIES.length === 0
    ? 'PUBLIC_URL is https:, so a proxy ends TLS, and TRUSTED_PROXIES does not name it: all clients count as one address'
    : null

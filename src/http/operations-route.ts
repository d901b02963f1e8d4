import { setTimeout as sleep } from 'node:timers/promises'
import { isEqual } from '../crypto/secrets.js'
import type { Clock } from '../ports.js'
import type { Services } from '../services/index.js'
import type { Exchange } from './exchange.js'
import { bearerOf } from './exchange.js'
import { send, sendJson } from './responses.js'

interface Health {
  database: () => Promise<boolean>
  /** Null: there is none. */
  cache: (() => Promise<boolean>) | null
  jobs: () => boolean
  mail: () => Promise<boolean>
}

interface Deps {
  services: Services
  clock: Clock
  health: Health
  isClosing: () => boolean
  renderMetrics: () => Promise<{ contentType: string; body: string }>
  metricsToken: string | undefined
  cronSecret: string | undefined
}

const MAIL_CHECK_MS = 10_000
/** What takes longer is told next time: until then what was known before. */
const MAIL_PATIENCE_MS = 1_000
const LOOPBACK = /^(127\.|::1$|::ffff:127\.)/

const up = (isUp: boolean) => (isUp ? 'up' : 'down')

/** What operators and orchestrators ask of the server. */
export function createOperationsRoute(deps: Deps) {
  const { services, clock, health, isClosing, renderMetrics, metricsToken, cronSecret } = deps

  let mailCheckedAtMs = Number.NEGATIVE_INFINITY
  let isMailUp = false
  let looking: Promise<unknown> = Promise.resolve()

  /** SMTP servers dislike being asked at every probe. */
  async function isMailReachable(): Promise<boolean> {
    const nowMs = clock.now().getTime()
    if (nowMs - mailCheckedAtMs > MAIL_CHECK_MS) {
      mailCheckedAtMs = nowMs
      looking = health.mail().then((isUp) => {
        isMailUp = isUp
      })
    }
    await Promise.race([looking, sleep(MAIL_PATIENCE_MS, undefined, { ref: false })])
    return isMailUp
  }

  const canSign = () =>
    services.signingKeys.signer().then(
      () => true,
      () => false,
    )

  async function report() {
    const [database, cache, mail] = await Promise.all([health.database(), health.cache?.(), isMailReachable()])
    const jobs = health.jobs()
    const isUsable = database && (await canSign())
    const status = !isUsable ? 'unhealthy' : cache === false || !mail || !jobs ? 'degraded' : 'healthy'
    return {
      status,
      database: up(database),
      cache: cache === undefined ? 'in-process' : up(cache),
      jobs: up(jobs),
      mail: up(mail),
      timestamp: clock.now().toISOString(),
    }
  }

  const notFound = ({ head }: Exchange) => sendJson(head, 404, { error: 'Not found' })

  return {
    async health({ head }: Exchange): Promise<void> {
      const body = await report()
      sendJson(head, body.status === 'unhealthy' ? 503 : 200, body)
    },

    /** The process runs. */
    live: ({ head }: Exchange): void => sendJson(head, 200, { status: 'live' }),

    /** Requests can be answered: there is a database, and a key that signs, and the server stays. */
    async ready({ head }: Exchange): Promise<void> {
      const isReady = !isClosing() && (await health.database()) && (await canSign())
      sendJson(head, isReady ? 200 : 503, { status: isReady ? 'ready' : 'not ready' })
    },

    /** With METRICS_TOKEN for whoever has it, else for the machine itself. */
    async metrics(exchange: Exchange): Promise<void> {
      const { request, head } = exchange
      const token = bearerOf(request.headers.authorization)
      const isAllowed = metricsToken
        ? token !== null && isEqual(token, metricsToken)
        : LOOPBACK.test(request.socket.remoteAddress ?? '') && !request.headers['x-forwarded-for']
      if (!isAllowed) return notFound(exchange)
      const { contentType, body } = await renderMetrics()
      send(head, 200, contentType, body)
    },

    async jwks({ head }: Exchange): Promise<void> {
      const keys = await services.signingKeys.jwks()
      head.set('cache-control', 'public, max-age=300')
      head.set('access-control-allow-origin', '*')
      sendJson(head, 200, keys)
    },

    async flush(exchange: Exchange): Promise<void> {
      const { request, head } = exchange
      if (!cronSecret) return notFound(exchange)
      const given = request.headers['x-cron-secret']
      if (typeof given !== 'string' || !isEqual(given, cronSecret))
        return sendJson(head, 401, { error: 'Unauthorized' })
      sendJson(head, 200, { purged: await services.maintenance.purge() })
    },
  }
}

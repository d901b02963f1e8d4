import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { shared } from './batches.js'
import type { Config } from './config.js'
import { printContract, schema } from './executable-schema.js'
import { createAdmission } from './http/admission.js'
import { createClientReader } from './http/client.js'
import { createConnections } from './http/connections.js'
import { createGate } from './http/gate.js'
import { createGraphql } from './http/graphql.js'
import { createErrorMasker } from './http/graphql-errors.js'
import { createGraphqlRoute } from './http/graphql-route.js'
import { securityHeaders } from './http/headers.js'
import { createOperationsRoute } from './http/operations-route.js'
import { MAILBOX_CSP, PAGE_CSP } from './http/page-layout.js'
import { homePage, mailboxPage } from './http/pages.js'
import { createPagesRoute } from './http/pages-route.js'
import { send, sendJson } from './http/responses.js'
import { createHttpServer, type Handler, type Routes } from './http/server.js'
import { createHttpTransport } from './http/transport.js'
import { createWebSocketServer } from './http/websocket.js'
import { isDatabaseUnavailable } from './infra/postgres.js'
import { lockStart } from './infra/start-lock.js'
import type { Log } from './ports.js'
import { createRuntime, type Replacements, urlsOf } from './runtime.js'

const DRAIN_MS = 10_000
const SWEEP_MS = 50

const html = ({ head }: Parameters<Handler>[0], csp: string, page: string) => {
  head.set('content-security-policy', csp)
  send(head, 200, 'text/html; charset=utf-8', page)
}

/** The composition root: the whole server, ready to listen. */
export async function createApp(config: Config, log: Log, replacements: Replacements = {}) {
  let port = config.port
  const urls = urlsOf(config, () => port)
  /** Where the server listens; a page of its own may be opened there too, unless it says that it is elsewhere. */
  const host = /^(0\.0\.0\.0|::)$/.test(config.host) ? '127.0.0.1' : config.host
  const address = () => `http://${host.includes(':') ? `[${host}]` : host}:${port}`
  const ownOrigins = () =>
    [urls.public(), urls.frontend(), ...(config.urls.public ? [] : [address()])].map((url) => new URL(url).origin)
  const isAllowedOrigin = (origin: string) => (config.corsOrigins ?? ownOrigins()).includes(origin)
  const isTrustedOrigin = (origin: string) => (config.csrfOrigins ?? ownOrigins()).includes(origin)
  const isKnownOrigin = (origin: string) =>
    isTrustedOrigin(origin) || isAllowedOrigin(origin) || ownOrigins().includes(origin)

  for (const warning of config.warnings) log.warn({}, warning)
  // Or a command, which has the database only until it ends, would keep a server that starts just then from starting.
  const unlock = config.database.url
    ? () => {}
    : await lockStart(config.dataDir, () =>
        log.info({}, 'A command, or another server, is using the embedded database: waiting for its end'),
      )
  const runtime = await createRuntime(config, log, urls, replacements).finally(unlock)
  const { services, clock, db, redis, jobs, metrics, mailer, mailbox } = runtime
  const { prisma } = db
  const maskError = createErrorMasker(isDatabaseUnavailable)
  const readClient = createClientReader(config.trustedProxies, runtime.geo, log)
  const graphql = createGraphql({
    schema,
    services,
    prisma,
    maskError,
    log,
    onField: metrics.operation,
    hasIntrospection: config.introspection,
    hasSuggestions: config.introspection && !config.isProduction,
    limits: config.limits,
    persistedOperations: config.persistedOperations,
    // What waits takes places: the rest is for what needs no turn.
    mostWaiting: Math.ceil(config.maxInFlight / 2),
  })
  const inFlight = createGate(config.maxInFlight)
  const headers = securityHeaders(config.isProduction)
  const connections = createConnections({ maxUnreadBytes: config.limits.unreadBytes, headers, log })
  const admission = createAdmission(inFlight, maskError)
  const sockets = createWebSocketServer({
    inFlight,
    connections,
    graphql,
    services,
    prisma,
    maskError,
    log,
    readClient,
    isTrustedOrigin,
    headers,
    limits: config.limits,
  })
  const graphqlRoute = createGraphqlRoute({
    graphql,
    admission,
    log,
    isAllowedOrigin,
    hasGraphiql: config.graphiql,
    maxBodyBytes: config.limits.bodyBytes,
  })
  const pages = createPagesRoute({
    graphql,
    log,
    admission,
    continueUrl: () => config.urls.frontend,
    requirements: services.policy.requirements,
    reportNotMe: services.notMe.report,
  })
  let isClosing = false
  const operations = createOperationsRoute({
    services,
    clock,
    cronSecret: config.cronSecret,
    metricsToken: config.metricsToken,
    renderMetrics: metrics.render,
    isClosing: () => isClosing,
    health: {
      database: shared(db.isReachable),
      cache: redis && shared(redis.isReachable),
      jobs: jobs.isRunning,
      mail: mailer.isReachable,
    },
  })

  const showMailbox: Handler = async (exchange) => {
    const mails = (await mailbox?.mails()) ?? []
    if (exchange.request.headers.accept?.includes('application/json')) return sendJson(exchange.head, 200, mails)
    html(exchange, MAILBOX_CSP, mailboxPage(mails))
  }
  const home = homePage({ graphiql: config.graphiql, mailbox: mailbox !== null, schema: config.introspection })
  const admitted =
    (handler: Handler): Handler =>
    async (exchange) =>
      void (await admission.admit(exchange, () => handler(exchange)))
  // What says how the server is doing is answered under any load; what has a body admits itself when it has read it.
  const routes: Routes = {
    '/': { GET: admitted((exchange) => html(exchange, PAGE_CSP, home)) },
    '/graphql': { '*': graphqlRoute },
    '/verify-email': { '*': (exchange) => pages(exchange, '/verify-email') },
    '/reset-password': { '*': (exchange) => pages(exchange, '/reset-password') },
    '/not-me': { '*': (exchange) => pages(exchange, '/not-me') },
    '/health': { GET: operations.health },
    '/health/live': { GET: operations.live },
    '/health/ready': { GET: operations.ready },
    '/metrics': { GET: operations.metrics },
    '/.well-known/jwks.json': { GET: admitted(operations.jwks) },
    '/maintenance/flush-tokens': { POST: admitted(operations.flush) },
    ...(config.introspection && {
      '/schema.graphql': { GET: admitted(({ head }) => send(head, 200, 'text/plain; charset=utf-8', printContract())) },
    }),
    ...(mailbox && { '/dev/mailbox': { GET: admitted(showMailbox) } }),
  }
  const transportSettings = {
    csrfKeys: services.csrfKeys,
    isTrustedOrigin,
    isKnownOrigin,
    isSecure: () => config.isProduction || urls.public().startsWith('https:'),
    hasAccessCookie: config.accessTokenCookie,
  }
  const { server, drain, closeUnused } = createHttpServer({
    requestTimeoutMs: config.limits.requestMs,
    patienceMs: config.limits.operationMs,
    routes,
    headers,
    productName: config.productName,
    log,
    readClient,
    maskError,
    connections,
    onResponse: metrics.httpRequest,
    openTransport: (request, head) => createHttpTransport(request, head, transportSettings),
  })
  sockets.attach(server)

  return {
    runtime,

    /** Begins to serve and to work. Returns the URL where it can be reached. */
    async listen(): Promise<string> {
      await services.feed.start()
      services.detection.start()
      server.listen(config.port, config.host)
      await once(server, 'listening')
      port = (server.address() as AddressInfo).port
      await jobs.start(services, mailer)
      return address()
    },

    /**
     * Tells those before it that it goes, and serves on for a while, or until `isUrgent`; then stops accepting, lets requests
     * and jobs under way finish, and ends everything that was begun.
     */
    async close(isUrgent?: AbortSignal): Promise<void> {
      isClosing = true
      drain()
      if (server.listening) await sleep(config.limits.shutdownDelayMs, null, { signal: isUrgent }).catch(() => {})
      const closed = server.listening ? once(server, 'close') : null
      if (closed) server.close()
      // A connection whose last response has just ended is idle only from then on.
      const sweep = setInterval(closeUnused, SWEEP_MS)
      const patience = sleep(DRAIN_MS, null, { ref: false }).then(() => server.closeAllConnections())
      const socketsClosed = sockets.close()
      services.alerts.close()
      await Promise.allSettled([socketsClosed, closed])
      clearInterval(sweep)
      // What was begun for clients that are gone needs the database for a while.
      await Promise.race([inFlight.emptied(), patience])
      await runtime.close()
    },
  }
}

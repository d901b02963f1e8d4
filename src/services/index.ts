import type { Config } from '../config.js'
import { createKeyRings } from '../crypto/key-ring.js'
import type {
  BreachChecker,
  Cache,
  Clock,
  EventBus,
  GeoLocator,
  Jobs,
  Log,
  PasswordEstimator,
  PasswordHasher,
  RateLimitStore,
} from '../ports.js'
import { createAccessTokens } from './access-tokens.js'
import { createAccounts } from './accounts.js'
import { createAdministration } from './administration.js'
import { createAlerts } from './alerts.js'
import { createAudit } from './audit.js'
import { createAuditCheckpoints, signEvery } from './audit-checkpoints.js'
import { createAuditCursors } from './audit-cursors.js'
import { createAuditSignatures } from './audit-signatures.js'
import { createAuditVerification } from './audit-verification.js'
import { createBreaches } from './breaches.js'
import type { Database } from './database.js'
import { createDetection } from './detection.js'
import { createDevices } from './devices.js'
import { createExchange } from './exchange-tokens.js'
import { createFeed } from './feed.js'
import { createLinks } from './links.js'
import { createLives } from './lives.js'
import { createLogin } from './login.js'
import { createMailQuotas } from './mail-quotas.js'
import { createMailRequests } from './mail-requests.js'
import { createMails } from './mails.js'
import { createMaintenance } from './maintenance.js'
import { createNewPasswords } from './new-passwords.js'
import { createNotMe, NOT_ME_LIFETIME_MS } from './not-me.js'
import { createOneTimeTokens } from './one-time-tokens.js'
import { createOverview } from './overview.js'
import { createPasswordPolicy } from './password-policy.js'
import { createPasswords } from './passwords.js'
import { createProfiles } from './profiles.js'
import { createRateLimits } from './rate-limits.js'
import { createRecords, forgetFromLog } from './records.js'
import { createRefresh } from './refresh.js'
import { createRegistration } from './registration.js'
import { createRequestedMails } from './requested-mails.js'
import { createRotations } from './rotations.js'
import { createSessionEnds } from './session-ends.js'
import { createSessions } from './sessions.js'
import { createSigningKeys } from './signing-keys.js'
import { createStoredKeys } from './stored-keys.js'
import { createThrottle } from './throttle.js'
import { createViewers } from './viewers.js'

export interface ServiceDeps {
  config: Config
  secretKeys: readonly string[]
  publicUrl: () => string
  frontendUrl: () => string
  db: Database
  clock: Clock
  cache: Cache
  bus: EventBus
  limiter: RateLimitStore
  hasher: PasswordHasher
  estimator: PasswordEstimator
  breaches: BreachChecker
  geo: GeoLocator
  jobs: Jobs
  log: Log
}

/** The object graph: every rule of the product and what it stands on. */
export function createServices(deps: ServiceDeps) {
  const { config, db, clock, cache, bus, limiter, hasher, estimator, breaches: breachChecker, geo, jobs, log } = deps
  const { algorithm, hmacKeys, lifetimeMs: tokenLifetimeMs, rotationMs } = config.jwt
  const { idleTimeoutMs, refreshGraceMs: graceMs } = config.sessions
  const historyLength = config.passwords.history
  const keys = createKeyRings(deps.secretKeys)
  const issuer = () => config.jwt.issuer ?? deps.publicUrl()
  const audience = () => config.jwt.audience ?? deps.publicUrl()

  // The audit log announces to the feed, and the feed reads the audit log.
  const audit = createAudit({ db, clock, onRecorded: () => feed.announce() })
  const feed = createFeed({ audit, bus, log })

  const records = createRecords({ cache, sql: db.sql })
  forgetFromLog(feed, records)
  const sessionEnds = createSessionEnds({ bus, feed, records, log })
  const links = createLinks(deps.frontendUrl, deps.publicUrl, config.urls.frontend !== undefined)
  const lifetimes = { ...config.oneTimeTokens, NOT_ME: NOT_ME_LIFETIME_MS }
  const oneTimeTokens = createOneTimeTokens({ db, clock, keys: keys('one-time-code'), lifetimes })
  const mails = createMails({ jobs, keys: keys('mail'), links, oneTimeTokens, productName: config.productName })
  const mailRequests = createMailRequests({ clock, jobs, keys: keys('mail-request') })
  const quotas = createMailQuotas({ clock, audit, keys: keys('mail-quota') })
  const families = keys('refresh-family')
  const sessions = createSessions({ db, clock, audit, records, bus, keys: families, lifetimes: config.sessions })
  const signingRing = keys('signing-keys')
  const signingKeys = createSigningKeys({
    db,
    clock,
    log,
    bus,
    keys: signingRing,
    algorithm,
    hmacKeys,
    tokenLifetimeMs,
    rotationMs,
  })
  const storedKeys = createStoredKeys({ db, clock, keys: signingRing, signingKeys, hmacKeys, tokenLifetimeMs })
  const { checkpointMs: intervalMs, checkpointEvents, retentionMs } = config.audit
  const signatures = createAuditSignatures({ db, clock, signingKeys, storedKeys })
  const checkpoints = createAuditCheckpoints({ db, clock, log, signingKeys, signatures, intervalMs })
  const endSigning = signEvery(feed, checkpoints, checkpointEvents, log)
  const lives = createLives({ clock, records, sessions, sessionEnds, signingKeys })
  const alerts = createAlerts({ feed, records, lives })
  const accessTokens = createAccessTokens({
    clock,
    signingKeys,
    algorithm,
    lifetimeMs: tokenLifetimeMs,
    issuer,
    audience,
  })
  const viewers = createViewers({ clock, accessTokens, sessions, records })

  const throttle = createThrottle({ clock, audit, mailRequests, keys: keys('throttle'), ...config.lockout })
  const devices = createDevices({ clock, keys: keys('device') })
  const rotations = createRotations({ sql: db.sql, clock, records, idleTimeoutMs })
  const refresh = createRefresh({
    ...{ db, clock, audit, records, sessions, accessTokens, mails, quotas, rotations, graceMs },
    keys: families,
  })
  const login = createLogin({
    db,
    clock,
    audit,
    sessions,
    refresh,
    accessTokens,
    throttle,
    devices,
    mails,
    quotas,
    hasher,
  })

  const accounts = createAccounts({ clock, hasher, records, throttle })
  const policy = createPasswordPolicy(config.passwords, { hasher, estimator, breaches: breachChecker })
  const breaches = createBreaches({
    db,
    clock,
    audit,
    jobs,
    records,
    mails,
    breaches: breachChecker,
    keys: keys('breach-check'),
  })
  const newPasswords = createNewPasswords({ policy, hasher, breaches })
  const mailed = { db, clock, audit, accounts, mails, mailRequests, oneTimeTokens, newPasswords }
  const registration = createRegistration({
    ...mailed,
    sessions,
    requireVerifiedEmail: config.requireVerifiedEmail,
    verificationLifetimeMs: lifetimes.EMAIL_VERIFICATION,
  })
  const requestedMails = createRequestedMails({
    ...mailed,
    records,
    jobs,
    links,
    hasher,
    quotas,
    emptyLifetimeMs: Math.max(lifetimes.EMAIL_VERIFICATION, lifetimes.PASSWORD_RESET),
  })
  const passwords = createPasswords({
    ...mailed,
    policy,
    hasher,
    records,
    sessions,
    accessTokens,
    throttle,
    historyLength,
  })
  const exchange = createExchange({ db, audit, records, sessions, refresh, accessTokens, oneTimeTokens })
  const rateLimits = createRateLimits({ limits: config.rateLimits, limiter, audit, db, log, keys: families })
  const notMe = createNotMe({ ...mailed, records, sessions, rateLimits })
  const profiles = createProfiles({ db, audit, accounts, records })
  const detection = createDetection({ ...mailed, feed, records, geo, log, thresholds: config.detection })

  return {
    csrfKeys: keys('csrf'),
    audit,
    auditCursors: createAuditCursors(keys('audit-cursor')),
    checkpoints,
    endSigning,
    verifyAudit: createAuditVerification({ sql: db.sql, clock, checkpoints, retentionMs, intervalMs }),
    feed,
    detection,
    lives,
    alerts,
    records,
    mails,
    sessions,
    signingKeys,
    /** Withdraws a signing key; returns the `kid` of the one that signs. */
    revokeKey: (kid: string) => signingKeys.revoke(kid, checkpoints.renew),
    viewers,
    devices,
    login,
    refresh,
    policy,
    registration,
    requestedMails,
    passwords,
    exchange,
    notMe,
    profiles,
    overview: createOverview({ db, clock, idleTimeoutMs }),
    rateLimits,
    breaches,
    administration: createAdministration({
      db,
      clock,
      audit,
      accounts,
      newPasswords,
      records,
      sessions,
      throttle,
    }),
    maintenance: createMaintenance({
      db,
      clock,
      log,
      checkpoints,
      storedKeys,
      auditRetentionMs: retentionMs,
    }),
  }
}

export type Services = ReturnType<typeof createServices>

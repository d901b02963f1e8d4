// The inventory of security events: what each one is called, how risky it is, and what it says to people.
import type { AuditEventType, RiskLevel } from './generated/prisma/enums.js'

export type { AuditEventType, RiskLevel }

interface Outcome {
  riskLevel: RiskLevel
  /** One sentence for people. */
  sentence: string
}

interface EventKind extends Outcome {
  success: boolean
  failure?: Outcome
}

/** `failure` is the sentence of an attempt that failed, where that is recorded too. */
const ok = (riskLevel: RiskLevel, sentence: string, failure?: string, riskOfFailure = riskLevel): EventKind => ({
  riskLevel,
  success: true,
  sentence,
  ...(failure && { failure: { riskLevel: riskOfFailure, sentence: failure } }),
})
const failed = (riskLevel: RiskLevel, sentence: string): EventKind => ({ riskLevel, success: false, sentence })

export const AUDIT_EVENTS: Readonly<Record<AuditEventType, EventKind>> = {
  REGISTERED: ok('LOW', 'An account was registered.', 'An attempt to register an account failed.'),
  EMAIL_VERIFICATION_SENT: ok(
    'LOW',
    'A mail to verify the e-mail address was sent.',
    'A mail to verify the e-mail address was asked for, and not sent.',
  ),
  EMAIL_VERIFIED: ok('LOW', 'The e-mail address was verified.', 'An attempt to verify an e-mail address failed.'),
  LOGIN_SUCCEEDED: ok('LOW', 'Somebody signed in.'),
  LOGIN_FAILED: failed('MEDIUM', 'An attempt to sign in failed.'),
  ACCOUNT_LOCKED: failed('HIGH', 'Signing in was locked after too many failed attempts.'),
  ACCOUNT_UNLOCKED: ok('LOW', 'Signing in was unlocked.'),
  LOGGED_OUT: ok('LOW', 'A session was signed out.'),
  TOKEN_REFRESHED: ok('LOW', 'A session was renewed.', 'An attempt to renew a session failed.'),
  TOKEN_REUSE_DETECTED: failed(
    'HIGH',
    'A refresh token that had been used before was presented again; its session was ended.',
  ),
  TOKEN_EXCHANGED: ok(
    'LOW',
    'A single-use token was exchanged for a session.',
    'An attempt to exchange a single-use token for a session failed.',
  ),
  PASSWORD_CHANGED: ok('MEDIUM', 'The password was changed.'),
  PASSWORD_CHANGE_FAILED: failed('MEDIUM', 'An attempt to change the password failed.'),
  PASSWORD_RESET_REQUESTED: ok(
    'MEDIUM',
    'A password reset was requested.',
    'A password reset was requested, and no mail was sent.',
  ),
  PASSWORD_RESET_COMPLETED: ok(
    'HIGH',
    'The password was reset by mail.',
    'An attempt to reset the password by mail failed.',
    'MEDIUM',
  ),
  PASSWORD_FOUND_IN_BREACH: failed('HIGH', 'The password is known from a data breach and should be changed.'),
  SESSION_CREATED: ok('LOW', 'A session was opened.'),
  SESSION_TERMINATED: ok('MEDIUM', 'A session was ended.', 'An attempt to end a session failed.'),
  NEW_DEVICE: ok('MEDIUM', 'Somebody signed in from a device that was not seen before.'),
  SUSPICIOUS_LOGIN: failed('HIGH', 'Signing in, or attempts at it, looked suspicious: the metadata names the rule.'),
  RATE_LIMIT_EXCEEDED: failed('MEDIUM', 'Too many requests were made.'),
  PROFILE_UPDATED: ok('LOW', 'The profile was changed.', 'An attempt to change the profile failed.'),
}

/** How risky an event is that has this outcome, and what it says. */
export function outcomeOf(type: AuditEventType, success: boolean): Outcome {
  const kind = AUDIT_EVENTS[type]
  return success === kind.success ? kind : (kind.failure ?? kind)
}

export const RISK_LEVELS: readonly RiskLevel[] = ['LOW', 'MEDIUM', 'HIGH', 'CRITICAL']

/** The risk levels from `minimum` up. */
export const riskLevelsFrom = (minimum: RiskLevel): RiskLevel[] => RISK_LEVELS.slice(RISK_LEVELS.indexOf(minimum))

/** What can be wrong with a sealed event, in words for an auditor. */
export const AUDIT_BREAKS = {
  MISSING: 'The event is missing.',
  CHANGED: 'The event, its place or its hash was changed.',
  PERSONAL_DATA_CHANGED: 'The address, user agent, place or metadata of the event was changed.',
  CHECKPOINT_MISMATCH: 'A signed checkpoint says otherwise: the log was rewritten.',
  CHECKPOINT_FORGED: 'The signature of the checkpoint is not valid, or by a key that is not ours.',
  CHECKPOINT_MISSING: 'A signed checkpoint is missing.',
} as const
export type AuditBreakReason = keyof typeof AUDIT_BREAKS

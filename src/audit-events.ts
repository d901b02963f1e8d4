// The inventory of security events: what each one is called, how risky it is, and what it says to people.
import type { AuditEventType, RiskLevel } from './generated/prisma/enums.js'

export type { AuditEventType, RiskLevel }

interface EventKind {
  riskLevel: RiskLevel
  success: boolean
  /** One sentence for people. */
  sentence: string
}

const ok = (riskLevel: RiskLevel, sentence: string): EventKind => ({ riskLevel, success: true, sentence })
const failed = (riskLevel: RiskLevel, sentence: string): EventKind => ({ riskLevel, success: false, sentence })

export const AUDIT_EVENTS: Readonly<Record<AuditEventType, EventKind>> = {
  REGISTERED: ok('LOW', 'An account was registered.'),
  EMAIL_VERIFICATION_SENT: ok('LOW', 'A mail to verify the e-mail address was sent.'),
  EMAIL_VERIFIED: ok('LOW', 'The e-mail address was verified.'),
  LOGIN_SUCCEEDED: ok('LOW', 'Somebody signed in.'),
  LOGIN_FAILED: failed('MEDIUM', 'An attempt to sign in failed.'),
  ACCOUNT_LOCKED: failed('HIGH', 'Signing in was locked after too many failed attempts.'),
  ACCOUNT_UNLOCKED: ok('LOW', 'Signing in was unlocked.'),
  LOGGED_OUT: ok('LOW', 'A session was signed out.'),
  TOKEN_REFRESHED: ok('LOW', 'A session was renewed.'),
  TOKEN_REUSE_DETECTED: failed(
    'HIGH',
    'A refresh token that had been used before was presented again; its session was ended.',
  ),
  TOKEN_EXCHANGED: ok('LOW', 'A single-use token was exchanged for a session.'),
  PASSWORD_CHANGED: ok('MEDIUM', 'The password was changed.'),
  PASSWORD_CHANGE_FAILED: failed('MEDIUM', 'An attempt to change the password failed.'),
  PASSWORD_RESET_REQUESTED: ok('MEDIUM', 'A password reset was requested.'),
  PASSWORD_RESET_COMPLETED: ok('HIGH', 'The password was reset by mail.'),
  PASSWORD_FOUND_IN_BREACH: failed('HIGH', 'The password is known from a data breach and should be changed.'),
  SESSION_CREATED: ok('LOW', 'A session was opened.'),
  SESSION_TERMINATED: ok('MEDIUM', 'A session was ended.'),
  NEW_DEVICE: ok('MEDIUM', 'Somebody signed in from a device that was not seen before.'),
  SUSPICIOUS_LOGIN: failed('HIGH', 'Signing in, or attempts at it, looked suspicious: the metadata names the rule.'),
  RATE_LIMIT_EXCEEDED: failed('MEDIUM', 'Too many requests were made.'),
  PROFILE_UPDATED: ok('LOW', 'The profile was changed.'),
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

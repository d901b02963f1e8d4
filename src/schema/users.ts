import { displayNameOf } from '../identifiers.js'
import type { SessionRecord, UserRecord } from '../services/records.js'
import { builder } from './builder.js'
import { Session } from './sessions.js'
import { locale, name, optional, shape, timezone, username } from './shapes.js'

/** The signed-in user, as they see themselves. Other audiences get types of their own. */
export interface SignedInUser extends UserRecord {
  currentSession: SessionRecord
}

/** The user as signed in with the session. What is added stands first: V8 11 takes what is added to a copy for long-lived. */
export const asSignedIn = (user: UserRecord, session: SessionRecord): SignedInUser => ({
  currentSession: session,
  ...user,
})

export const User = builder.objectRef<SignedInUser>('User').implement({
  description: 'The signed-in user.',
  fields: (t) => ({
    id: t.exposeID('id', { description: 'The `sub` of access tokens.' }),
    email: t.exposeString('email', { description: 'As typed at registration, with its domain in ASCII.' }),
    username: t.exposeString('username', { nullable: true }),
    firstName: t.exposeString('firstName', { nullable: true }),
    lastName: t.exposeString('lastName', { nullable: true }),
    displayName: t.string({
      description:
        'What to show others: the chosen display name, else the username, else the part of the e-mail before the @.',
      resolve: displayNameOf,
    }),
    locale: t.exposeString('locale', { description: 'BCP 47.' }),
    timezone: t.exposeString('timezone', { description: 'IANA.' }),
    emailVerified: t.boolean({ resolve: (user) => user.emailVerifiedAt !== null }),
    emailVerifiedAt: t.expose('emailVerifiedAt', { type: 'DateTime', nullable: true }),
    role: t.exposeString('roleName'),
    permissions: t.exposeStringList('permissions', { description: 'Of the role, and those granted beyond it.' }),
    passwordChangedAt: t.expose('passwordChangedAt', { type: 'DateTime' }),
    lastLoginAt: t.expose('lastLoginAt', { type: 'DateTime', nullable: true }),
    createdAt: t.expose('createdAt', { type: 'DateTime' }),
    currentSession: t.expose('currentSession', { type: Session }),
  }),
})

/** An account as auditors see it. Without its id: a client like Relay would take it for the `User` that has the same one. */
export const AccountSummary = builder.objectRef<UserRecord>('AccountSummary').implement({
  description: 'An account that a security event concerns.',
  fields: (t) => ({
    email: t.exposeString('email'),
    displayName: t.string({ resolve: displayNameOf }),
  }),
})

export const UpdateProfileInput = builder.inputType('UpdateProfileInput', {
  description: 'What is left out stays as it is; null empties a name.',
  validate: shape({
    username: optional(username),
    firstName: optional(name),
    lastName: optional(name),
    displayName: optional(name),
    locale: optional(locale),
    timezone: optional(timezone),
  }),
  fields: (t) => ({
    username: t.string(),
    firstName: t.string(),
    lastName: t.string(),
    displayName: t.string(),
    locale: t.string(),
    timezone: t.string(),
  }),
})

export const UpdateProfileSuccess = builder
  .objectRef<{ user: SignedInUser }>('UpdateProfileSuccess')
  .implement({ fields: (t) => ({ user: t.expose('user', { type: User }) }) })

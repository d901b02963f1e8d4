import SchemaBuilder, { BasePlugin, type PothosOutputFieldConfig, type SchemaTypes } from '@pothos/core'
import {
  DirectiveLocation,
  GraphQLDirective,
  GraphQLError,
  GraphQLInt,
  GraphQLNonNull,
  type GraphQLResolveInfo,
  GraphQLString,
} from 'graphql'
import graphqlRateLimit, { type Identity } from 'graphql-rate-limit'
import ms from 'ms'
import type { Context } from '../../context.js'
import { familyOf, nameOf } from '../../crypto/refresh-tokens.js'
import { normalizeEmail, normalizeIdentifier } from '../../identifiers.js'
import type { RateLimitVerdict } from '../../ports.js'
import { defaultRateLimits, type RateLimitSubject } from '../../rate-limits.js'
import { type Resolver, ROOTS } from './access.js'

// CommonJS: its names are not visible to an ES module import.
const { Store, getGraphQLRateLimiter } = graphqlRateLimit as unknown as typeof import('graphql-rate-limit')

/** As printed in schema.graphql: one for each limit of a field. */
export const rateLimitDirective = new GraphQLDirective({
  name: 'rateLimit',
  description:
    'At most `max` calls in any `window`, by default. `by`: address, session or user; a pair such as address+identifier ' +
    'counts the combination. Besides, every field counts against the general limits (docs/configuration.md).',
  locations: [DirectiveLocation.FIELD_DEFINITION],
  isRepeatable: true,
  args: {
    max: { type: new GraphQLNonNull(GraphQLInt) },
    window: { type: new GraphQLNonNull(GraphQLString) },
    by: { type: new GraphQLNonNull(GraphQLString) },
  },
})

type Session = NonNullable<Context['viewer']>['session']

interface Call {
  field: string
  args: { input?: { identifier?: string; email?: string | null; refreshToken?: string | null } | null }
  context: Context
  verdict?: RateLimitVerdict
}

const refreshTokenOf = ({ args: { input }, context: { transport } }: Call): string | null =>
  input?.refreshToken ?? transport.refreshCookie

/**
 * Whose session ends. It is known by an access token that has expired, too; but not where the call will be refused for
 * want of the CSRF proof: whoever has an old token could use up what its session needs to leave.
 */
async function leavingSession({ context }: Call): Promise<Session | null> {
  const { viewer, accessToken, services, transport } = context
  if (transport.refreshCookie && !transport.hasCsrfProof()) return null
  return viewer?.session ?? (accessToken ? services.viewers.sessionToLeave(accessToken) : null)
}

/** The devices that an account is known on are a place for it: strangers at their addresses do not count. */
async function placeOfLogin({ args: { input }, context }: Call): Promise<string> {
  const { services, transport, client, loaders } = context
  const group = await services.devices.groupOf(transport.deviceCookie, input?.identifier ?? '', loaders.user.load)
  return group ?? client.addressKey
}

/** Who is calling, as a kind of limit sees it. Arguments are as sent: not validated yet. */
function subjectsOf(call: Call, session: Session | null, place: string): (by: RateLimitSubject) => string {
  const { input } = call.args
  return (by) => {
    if (by === 'user') return session?.userId ?? place
    if (by === 'address+identifier') return `${place} ${normalizeIdentifier(input?.identifier ?? '')}`
    if (by === 'address+email') return `${place} ${normalizeEmail(input?.email ?? '')}`
    if (by === 'address') return place
    const token = refreshTokenOf(call)
    // Whoever has kept an old token has the name of its family, and could use up what the session needs to leave.
    if (call.field === 'logout') return session?.id ?? (token ? nameOf(token) : place)
    return token ? familyOf(token) : (session?.id ?? place)
  }
}

// The library keeps the times of earlier calls, adds this one and compares with a maximum, which is not atomic. So each
// call has a maximum of one, and the store says that it was reached when the limiter has decided so.
const ONE_CALL = { max: 1, window: '1m' }
const USED_UP = Number.MAX_SAFE_INTEGER

/** Reads, decides and records in one atomic step of the limiter, so that concurrent calls cannot slip through. */
class AtomicStore extends Store {
  override async getForIdentity({ contextIdentity }: Identity): Promise<number[]> {
    const call = contextIdentity as unknown as Call
    const { services, viewer, client } = call.context
    const place = call.field === 'login' ? await placeOfLogin(call) : client.addressKey
    const session = call.field === 'logout' ? await leavingSession(call) : (viewer?.session ?? null)
    const verdict = await services.rateLimits.consume(call.field, {
      subjectOf: subjectsOf(call, session, place),
      isSignedIn: session !== null,
      refreshToken: refreshTokenOf(call),
    })
    if (!verdict) return []
    call.verdict = verdict
    return verdict.isAllowed ? [] : [USED_UP]
  }
  override setForIdentity(): void {}
}

const limiter = getGraphQLRateLimiter({
  identifyContext: (call: Call) => call as unknown as string,
  store: new AtomicStore(),
})

function refusal({ limit, resetMs }: RateLimitVerdict): GraphQLError {
  const retryAfter = Math.max(1, Math.ceil(resetMs / 1000))
  const resetAt = new Date(Date.now() + resetMs).toISOString()
  return new GraphQLError('Too many requests. Try again later.', {
    extensions: { code: 'RATE_LIMITED', retryAfter, limit, remaining: 0, resetAt },
  })
}

/** Throws RATE_LIMITED when a limit of the root field is used up. */
async function count(call: Call, parent: unknown, info: GraphQLResolveInfo): Promise<void> {
  const { args, context } = call
  const message = await limiter({ parent, args: args as Record<string, unknown>, context: call, info }, ONE_CALL)
  if (call.verdict) context.transport.reportLimit(call.verdict)
  if (!message || !call.verdict) return
  await context.services.rateLimits.recordRefusal(context.client, call.field, context.viewer?.user.id ?? null)
  throw refusal(call.verdict)
}

const DECLARED = defaultRateLimits(true)

/** Limits every root field by the table of `rate-limits.ts`, counting each executed field. */
class RateLimitPlugin<Types extends SchemaTypes> extends BasePlugin<Types> {
  override onOutputFieldConfig(field: PothosOutputFieldConfig<Types>): PothosOutputFieldConfig<Types> {
    const declared = ROOTS.has(field.parentType) ? DECLARED[field.name] : undefined
    if (!declared) return field
    const rateLimit = declared.map(({ max, windowMs, by }) => ({ max, window: ms(windowMs), by }))
    return { ...field, extensions: { ...field.extensions, directives: { rateLimit } } }
  }

  /** Outside validation and authorization. Of a subscription, it is the start that counts. */
  override wrapArgMappers(resolver: Resolver<Types> | undefined, field: PothosOutputFieldConfig<Types>) {
    const isCounted = field.kind === 'Query' || field.kind === 'Mutation'
    return resolver && isCounted ? this.limit(resolver, field) : resolver
  }

  override wrapSubscribe(subscribe: Resolver<Types> | undefined, field: PothosOutputFieldConfig<Types>) {
    return subscribe && this.limit(subscribe, field)
  }

  private limit(resolver: Resolver<Types>, field: PothosOutputFieldConfig<Types>): Resolver<Types> {
    return async (parent, args, context, info) => {
      await count({ field: field.name, args, context: context as Context }, parent, info)
      return resolver(parent, args, context, info)
    }
  }
}

declare global {
  export namespace PothosSchemaTypes {
    export interface Plugins<Types extends SchemaTypes> {
      rateLimit: RateLimitPlugin<Types>
    }
  }
}

SchemaBuilder.registerPlugin('rateLimit', RateLimitPlugin)

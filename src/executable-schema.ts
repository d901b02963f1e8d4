import './schema/errors.js'
import './resolvers/alerts.js'
import './resolvers/audit.js'
import './resolvers/audit-chain.js'
import './resolvers/login.js'
import './resolvers/passwords.js'
import './resolvers/profile.js'
import './resolvers/registration.js'
import './resolvers/sessions.js'
import './resolvers/tokens.js'
import { printSchemaWithDirectives } from '@graphql-tools/utils'
import { contextCacheSymbol } from '@pothos/core'
import { lexicographicSortSchema, specifiedDirectives } from 'graphql'
import { builder } from './schema/builder.js'
import { rateLimitDirective } from './schema/plugins/rate-limit.js'

/** The whole schema, assembled once: every nouns file is reached through the fields that use it. */
export const schema = builder.toSchema({ directives: [...specifiedDirectives, rateLimitDirective] })

/** The schema as schema.graphql holds it: sorted, with the limits printed on the fields. */
export const printContract = (): string => `${printSchemaWithDirectives(lexicographicSortSchema(schema))}\n`

/**
 * Gives the plugins a place for what they keep for an operation; call the result when it has ended. Without it they use the
 * context itself as the key of weak maps that live for ever and whose values refer to it: the garbage collector would take
 * all of the request for alive until its next full round.
 */
export function openCaches(context: object): () => void {
  const holder = context as { [contextCacheSymbol]?: object | undefined }
  holder[contextCacheSymbol] = {}
  return () => {
    holder[contextCacheSymbol] = undefined
  }
}

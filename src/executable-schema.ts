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
import { lexicographicSortSchema, specifiedDirectives } from 'graphql'
import { builder } from './schema/builder.js'
import { rateLimitDirective } from './schema/plugins/rate-limit.js'

/** The whole schema, assembled once: every nouns file is reached through the fields that use it. */
export const schema = builder.toSchema({ directives: [...specifiedDirectives, rateLimitDirective] })

/** The schema as schema.graphql holds it: sorted, with the limits printed on the fields. */
export const printContract = (): string => `${printSchemaWithDirectives(lexicographicSortSchema(schema))}\n`

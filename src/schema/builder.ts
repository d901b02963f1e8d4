import './plugins/given-up.js'
import './plugins/rate-limit.js'
import SchemaBuilder from '@pothos/core'
import ErrorsPlugin from '@pothos/plugin-errors'
import PrismaPlugin from '@pothos/plugin-prisma'
import RelayPlugin from '@pothos/plugin-relay'
import ScopeAuthPlugin from '@pothos/plugin-scope-auth'
import ValidationPlugin from '@pothos/plugin-validation'
import { GraphQLError } from 'graphql'
import { DateTimeISOResolver, JSONObjectResolver } from 'graphql-scalars'
import type { Context } from '../context.js'
import type PrismaTypes from '../generated/pothos.js'
import { getDatamodel } from '../generated/pothos.js'
import type { Viewer } from '../services/viewers.js'
import { denied } from './plugins/access.js'

export interface SchemaTypes {
  Context: Context
  PrismaTypes: PrismaTypes
  DefaultFieldNullability: false
  DefaultAuthStrategy: 'all'
  DefaultEdgesNullability: { list: false; items: false }
  DefaultNodeNullability: false
  Scalars: {
    ID: { Input: string; Output: string }
    DateTime: { Input: Date; Output: Date }
    JSONObject: { Input: Record<string, unknown>; Output: Record<string, unknown> }
  }
  AuthScopes: { signedIn: boolean; permission: string }
  AuthContexts: { signedIn: Context & { viewer: Viewer } }
}

/** Defines no types of its own. The first plugin is the outermost: a refused call costs nothing else. */
export const builder = new SchemaBuilder<SchemaTypes>({
  plugins: [
    'givenUp',
    'rateLimit',
    'access',
    ErrorsPlugin,
    ScopeAuthPlugin,
    RelayPlugin,
    PrismaPlugin,
    ValidationPlugin,
  ],
  defaultFieldNullability: false,
  errors: {
    directResult: true,
    defaultUnionOptions: { name: ({ fieldName }) => `${fieldName.charAt(0).toUpperCase()}${fieldName.slice(1)}Result` },
  },
  scopeAuth: {
    defaultStrategy: 'all',
    authorizeOnSubscribe: true,
    authScopes: ({ viewer }) => ({
      signedIn: viewer !== null,
      permission: (name) => viewer?.user.permissions.includes(name) ?? false,
    }),
    unauthorizedError: (_parent, context) => denied(context),
  },
  relay: {
    cursorType: 'String',
    // They would bypass the scopes of the root fields, and our ids are plain UUIDs.
    nodeQueryOptions: false,
    nodesQueryOptions: false,
    edgesFieldOptions: { nullable: { list: false, items: false } },
    nodeFieldOptions: { nullable: false },
  },
  prisma: { client: ({ prisma }) => prisma, dmmf: getDatamodel(), onUnusedQuery: 'error' },
  validation: {
    validationError: ({ issues }) =>
      new GraphQLError('Invalid input.', {
        extensions: {
          code: 'BAD_USER_INPUT',
          issues: issues.map((issue) => ({
            path: (issue.path ?? []).map((part) => String(typeof part === 'object' ? part.key : part)),
            code: (issue as { code?: string }).code ?? 'invalid',
            message: issue.message,
          })),
        },
      }),
  },
})

builder.addScalarType('DateTime', DateTimeISOResolver, { description: 'RFC 3339 instant in UTC, milliseconds.' })
builder.addScalarType('JSONObject', JSONObjectResolver, {})

builder.queryType({})
builder.mutationType({})
builder.subscriptionType({})

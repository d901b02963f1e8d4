import SchemaBuilder, {
  BasePlugin,
  type PothosOutputFieldConfig,
  PothosSchemaError,
  type SchemaTypes,
} from '@pothos/core'
import type { GraphQLFieldResolver } from 'graphql'
import type { Context } from '../../context.js'
import { CsrfFailedError, RequestError } from '../../errors.js'

/** Why a field is refused. */
export const denied = ({ viewer, isProofMissing }: Context): RequestError =>
  isProofMissing
    ? new CsrfFailedError()
    : viewer
      ? new RequestError('FORBIDDEN', 'You are not allowed to do this.')
      : new RequestError('UNAUTHENTICATED', 'Sign in first.')

export type Resolver<Types extends SchemaTypes> = GraphQLFieldResolver<unknown, Types['Context'], object>

export const ROOTS: ReadonlySet<string> = new Set(['Query', 'Mutation', 'Subscription'])

/**
 * Denies by default: the schema cannot be built while a root field says neither which scopes it needs nor that it is
 * public. A public field has no scopes at all, so that a call of it pays nothing for them.
 */
class AccessPlugin<Types extends SchemaTypes> extends BasePlugin<Types> {
  /** Who is not signed in is told so before any argument is looked at. */
  override wrapArgMappers(resolver: Resolver<Types> | undefined, field: PothosOutputFieldConfig<Types>) {
    const { isPublic = false } = field.pothosOptions as { isPublic?: boolean }
    if (!resolver || isPublic || !ROOTS.has(field.parentType)) return resolver
    const wrapped: Resolver<Types> = (parent, args, context, info) => {
      if (!(context as Context).viewer) throw denied(context as Context)
      return resolver(parent, args, context, info)
    }
    return wrapped
  }

  override onOutputFieldConfig(field: PothosOutputFieldConfig<Types>): PothosOutputFieldConfig<Types> {
    const { authScopes, isPublic = false } = field.pothosOptions as { authScopes?: unknown; isPublic?: boolean }
    if (ROOTS.has(field.parentType) && Boolean(authScopes) === isPublic) {
      throw new PothosSchemaError(
        `${field.parentType}.${field.name} has to declare either its scopes or that it is public`,
      )
    }
    return field
  }
}

declare global {
  export namespace PothosSchemaTypes {
    export interface Plugins<Types extends SchemaTypes> {
      access: AccessPlugin<Types>
    }
    export interface FieldOptions {
      /** Anybody may call this root field. */
      isPublic?: boolean
    }
  }
}

SchemaBuilder.registerPlugin('access', AccessPlugin)

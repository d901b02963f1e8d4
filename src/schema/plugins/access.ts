import SchemaBuilder, {
  BasePlugin,
  type PothosOutputFieldConfig,
  PothosSchemaError,
  type SchemaTypes,
} from '@pothos/core'

const ROOTS = new Set(['Query', 'Mutation', 'Subscription'])

/**
 * Denies by default: the schema cannot be built while a root field says neither which scopes it needs nor that it is
 * public. A public field has no scopes at all, so that a call of it pays nothing for them.
 */
class AccessPlugin<Types extends SchemaTypes> extends BasePlugin<Types> {
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

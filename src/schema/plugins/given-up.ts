import SchemaBuilder, { BasePlugin, type PothosOutputFieldConfig, type SchemaTypes } from '@pothos/core'
import { assertAwaited, type Context } from '../../context.js'
import type { Resolver } from './access.js'

/** Begins no field of an operation that was given up. The outermost plugin. */
class GivenUpPlugin<Types extends SchemaTypes> extends BasePlugin<Types> {
  override wrapArgMappers(resolver: Resolver<Types> | undefined, { kind }: PothosOutputFieldConfig<Types>) {
    if (!resolver || kind === 'Subscription') return resolver
    const wrapped: Resolver<Types> = (parent, args, context, info) => {
      assertAwaited(context as Context)
      return resolver(parent, args, context, info)
    }
    return wrapped
  }
}

declare global {
  export namespace PothosSchemaTypes {
    export interface Plugins<Types extends SchemaTypes> {
      givenUp: GivenUpPlugin<Types>
    }
  }
}

SchemaBuilder.registerPlugin('givenUp', GivenUpPlugin)

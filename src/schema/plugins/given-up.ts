import SchemaBuilder, { BasePlugin, type PothosOutputFieldConfig, type SchemaTypes } from '@pothos/core'
import type { GraphQLFieldResolver } from 'graphql'
import type { Context } from '../../context.js'
import { ServiceUnavailableError } from '../../errors.js'

type Resolver<Types extends SchemaTypes> = GraphQLFieldResolver<unknown, Types['Context'], object>

/** Begins no field of an operation that was given up: nobody hears of what it would do. The outermost plugin. */
class GivenUpPlugin<Types extends SchemaTypes> extends BasePlugin<Types> {
  override wrapArgMappers(resolver: Resolver<Types> | undefined, { kind }: PothosOutputFieldConfig<Types>) {
    if (!resolver || kind === 'Subscription') return resolver
    const wrapped: Resolver<Types> = (parent, args, context, info) => {
      if ((context as Context).isGivenUp) throw new ServiceUnavailableError()
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

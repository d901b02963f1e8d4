import type { CodegenConfig } from '@graphql-codegen/cli'

/** Operations of the tests as typed documents, from the contract that is committed. */
const config: CodegenConfig = {
  schema: './schema.graphql',
  documents: ['./test/support/operations/*.graphql'],
  silent: true,
  emitLegacyCommonJSImports: false,
  generates: {
    './test/support/generated/': {
      preset: 'client',
      presetConfig: { fragmentMasking: false },
      config: {
        // TypeScript that Node can run by erasing types has no enums.
        enumsAsTypes: true,
        useTypeImports: true,
        defaultScalarType: 'never',
        scalars: { ID: 'string', DateTime: 'string', JSONObject: 'Record<string, unknown>' },
      },
    },
  },
}

export default config

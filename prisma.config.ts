import { fileURLToPath } from 'node:url'
import { defineConfig } from 'prisma/config'

// The Prisma CLI spawns a native schema engine that it downloads; this one runs the same engine as WebAssembly from npm.
if (process.platform !== 'win32') {
  process.env.PRISMA_SCHEMA_ENGINE_BINARY ??= fileURLToPath(new URL('./scripts/schema-engine.mjs', import.meta.url))
}

export default defineConfig({
  schema: 'prisma/schema.prisma',
  migrations: { path: 'prisma/migrations' },
  datasource: { url: process.env.DATABASE_URL ?? 'postgresql://postgres@127.0.0.1:5432/portcullis' },
})

#!/usr/bin/env node
// A schema engine for the Prisma CLI that needs no downloaded binary. It speaks the engine's line-delimited JSON-RPC on
// stdio and forwards each call to @prisma/schema-engine-wasm, which talks to PostgreSQL through `pg`.
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import * as bindings from '@prisma/schema-engine-wasm/schema_engine_bg'
import { createDatabase, parseUrl, sessionFactory, withClient } from './schema-engine-sessions.mjs'

/** The JSON-RPC code under which the native engine reports every failure. */
const ENGINE_ERROR = 4466
const UNREACHABLE = 'P1001'
const PRISMA_CODES = { '3D000': 'P1003', '28P01': 'P1000', '42P04': 'P1009', ECONNREFUSED: UNREACHABLE }
/** The CLI's name of a method, where it differs from the engine's. */
const METHOD_ALIASES = { getDatabaseVersion: 'version' }
/** These fail unless the engine has replayed the migrations in a shadow database before; it remembers the outcome. */
const READS_REPLAYED_SCHEMA = new Set(['evaluateDataLoss', 'createMigration'])
/** What a diff can compare without reading the database itself; migrations are replayed in a shadow database. */
const OFFLINE_TARGETS = new Set(['empty', 'schemaDatamodel', 'migrations'])

// --- the engine ----------------------------------------------------------------------------------------------------

async function loadWasm() {
  const require = createRequire(import.meta.url)
  const file = join(dirname(require.resolve('@prisma/schema-engine-wasm')), 'schema_engine_bg.wasm')
  const { instance } = await WebAssembly.instantiate(readFileSync(file), { './schema_engine_bg.js': bindings })
  bindings.__wbg_set_wasm(instance.exports)
  instance.exports.__wbindgen_start?.()
}

function readOptions() {
  const text = { type: 'string' }
  const options = {
    datamodels: { ...text, multiple: true },
    datasource: text,
    'enabled-preview-features': text,
    'extension-types': text,
    version: { type: 'boolean' },
  }
  const { values, positionals } = parseArgs({ allowPositionals: true, strict: false, options })
  return {
    datamodels: values.datamodels,
    url: values.datasource ? JSON.parse(values.datasource).url : 'postgresql://127.0.0.1:1/none',
    isVersion: values.version === true,
    command: positionals[0] === 'cli' ? positionals[1] : undefined,
  }
}

const debugLog = (message) => process.env.DEBUG && process.stderr.write(`${message}\n`)

/** Connects at the first call that needs it, so that comparing files works with no server in reach. */
function createEngines({ datamodels, url }) {
  const engines = new Map()
  const models = datamodels?.map((file) => [file, readFileSync(file, 'utf8')])
  return function engineFor({ method, params }) {
    const isOffline = method === 'diff' && OFFLINE_TARGETS.has(params.from.tag) && OFFLINE_TARGETS.has(params.to.tag)
    if (!engines.has(isOffline)) {
      const engine = bindings.SchemaEngine.new({ datamodels: models }, debugLog, sessionFactory(url, isOffline))
      engines.set(isOffline, engine)
    }
    return engines.get(isOffline)
  }
}

// --- JSON-RPC on stdio ---------------------------------------------------------------------------------------------

const send = (message) => process.stdout.write(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`)

async function call(request, { url, engineFor }) {
  if (request.method === 'createDatabase') return { databaseName: await createDatabase(url) }
  const engine = await engineFor(request)
  if (READS_REPLAYED_SCHEMA.has(request.method)) await engine.devDiagnostic(request.params)
  const result = await engine[METHOD_ALIASES[request.method] ?? request.method](request.params)
  if (request.method !== 'diff' || result.stdout == null) return result ?? null
  // The native engine prints a diff by calling the CLI back; this one returns it.
  send({ id: randomUUID(), method: 'print', params: { content: result.stdout } })
  return { exitCode: result.exitCode }
}

function toRpcError(error) {
  const message = error?.message ?? String(error)
  const isKnown = /^P\d{4}$/.test(error?.code ?? '')
  const isPanic = !isKnown && error?.name === 'RuntimeError'
  return {
    code: ENGINE_ERROR,
    message,
    data: { is_panic: isPanic, message, error_code: error?.code, meta: error?.meta },
  }
}

async function serve(options) {
  await loadWasm()
  const context = { url: options.url, engineFor: createEngines(options) }
  // One request after the other, in the order of arrival; the CLI closes stdin when it is done.
  for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
    const request = line.trim() ? JSON.parse(line) : {}
    // Without a method it is the CLI's answer to `print`.
    if (!request.method) continue
    try {
      send({ id: request.id, result: await call(request, context) })
    } catch (error) {
      send({ id: request.id, error: toRpcError(error) })
    }
  }
}

// --- one-off commands: the answer is the exit status and, on failure, a log line on stderr ---------------------------

const COMMANDS = {
  'can-connect-to-database': (url) => withClient(parseUrl(url).config, async () => undefined),
  'create-database': createDatabase,
}

function logLine(level, fields) {
  const line = { timestamp: new Date().toISOString(), level, fields, target: 'schema_engine::logger' }
  process.stderr.write(`${JSON.stringify(line)}\n`)
}

async function runCommand(command, url) {
  try {
    if (!COMMANDS[command]) throw new Error(`unsupported command: ${command}`)
    await COMMANDS[command](url)
  } catch (error) {
    // The CLI reads the first line as a greeting and the last one as the failure.
    logLine('INFO', { message: 'schema engine (wasm)' })
    const code = PRISMA_CODES[error.code] ?? UNREACHABLE
    logLine('ERROR', { message: error.message || String(error.code), error_code: code, is_panic: false })
    process.exitCode = 1
  }
}

const options = readOptions()
if (options.isVersion) {
  await loadWasm()
  console.log(`schema-engine-wasm ${bindings.version()}`)
} else if (options.command) {
  await runCommand(options.command, options.url)
} else {
  await serve(options)
  // An open pool would keep the process alive after the CLI has gone.
  process.exit()
}

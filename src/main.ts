import './memory-flags.js'
import { createApp } from './app.js'
import { ConfigError, loadConfig } from './config.js'
import { createLog } from './infra/log.js'

function readConfig() {
  try {
    return loadConfig(process.env)
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    console.error(error.message)
    process.exit(1)
  }
}

const config = readConfig()
const log = createLog(config.log)

try {
  const app = await createApp(config, log)
  const url = await app.listen()
  log.info({ url }, `Portcullis is ready at ${url}`)

  let isClosing = false
  const close = async (signal: string) => {
    if (isClosing) return
    isClosing = true
    log.info({ signal }, 'Shutting down')
    await app.close()
    process.exit(0)
  }
  process.on('SIGTERM', close)
  process.on('SIGINT', close)
} catch (error) {
  const isTaken = (error as { code?: unknown }).code === 'EADDRINUSE'
  const hint = isTaken ? `: something else listens on PORT ${config.port}` : ''
  log.error({ err: error }, `The server could not start${hint}`)
  process.exit(1)
}

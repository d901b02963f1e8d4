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
  let isClosing = false
  const interrupted = new AbortController()
  const close = async (signal: string) => {
    // Whoever presses Ctrl-C has no balancer to wait for.
    if (signal === 'SIGINT') interrupted.abort()
    if (isClosing) return
    isClosing = true
    log.info({ signal }, 'Shutting down')
    await app.close(interrupted.signal)
    process.exit(0)
  }
  process.on('SIGTERM', close)
  process.on('SIGINT', close)
  // Whoever waits for this line may send a signal at once.
  log.info({ url }, `Portcullis is ready at ${url}`)
} catch (error) {
  const isTaken = (error as { code?: unknown }).code === 'EADDRINUSE'
  const hint = isTaken ? `: something else listens on PORT ${config.port}` : ''
  log.error({ err: error }, `The server could not start${hint}`)
  process.exit(1)
}

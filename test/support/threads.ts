import { type Config, loadConfig } from '../../src/config.js'
import { createPasswordEstimator } from '../../src/infra/password-estimator.js'
import { createPasswordHasher } from '../../src/infra/password-hasher.js'
import { TEST_ENVIRONMENT } from './environment.js'

const usual = loadConfig({ ...TEST_ENVIRONMENT }).hashing
const hasher = createPasswordHasher(usual)
export const estimator = createPasswordEstimator(true)
// Its thread gives way to all others: where tests have begun, it would not be ready for long.
await estimator.estimate('', [])

/** Dictionaries are a second of work to read. Servers that hash in another way than usual have threads of their own. */
export const threadsOf = ({ hashing }: Config) =>
  JSON.stringify(hashing) === JSON.stringify(usual) ? { hasher, estimator } : { estimator }

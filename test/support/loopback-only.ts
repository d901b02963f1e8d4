// A test that needs somebody else's server fails for reasons of its own: only this machine can be reached, and the
// database and the Redis that the tests were told to use.
import { type NetConnectOpts, Socket } from 'node:net'

const configured = [process.env.TEST_DATABASE_URL, process.env.TEST_REDIS_URL]
  .flatMap((urls) => urls?.split(',') ?? [])
  .map((url) => new URL(url).hostname)
const ALLOWED = new Set(['localhost', '::1', ...configured])
const isAllowed = (host: string) => ALLOWED.has(host) || /^127(\.\d+){3}$/.test(host)

const connect = Socket.prototype.connect
const MARK = Symbol.for('portcullis.loopback-only')

if (!(MARK in connect)) {
  const guarded = function (this: Socket, ...args: unknown[]) {
    // Node's own callers pass the normalised arguments as one array.
    const [options] = (Array.isArray(args[0]) ? args[0] : args) as [NetConnectOpts | number, unknown]
    const host = typeof options === 'object' && 'host' in options ? options.host : undefined
    if (host && !isAllowed(host)) throw new Error(`A test must not connect to ${host}`)
    return Reflect.apply(connect, this, args)
  }
  Socket.prototype.connect = Object.assign(guarded, { [MARK]: true }) as typeof connect
}

import { hash } from 'node:crypto'
import DataLoader from 'dataloader'
import type { RateLimitRule, RateLimitStore, RateLimitVerdict } from '../ports.js'
import { scarcest } from './memory.js'
import { createScript, type RedisConnection, together } from './redis.js'
import type { RedisClient } from './redis-client.js'

// Each limit has a list of the times, by the server's clock and in microseconds, of the calls that it counts; those that are
// older than its window are dropped before it is asked.
// For each call, ARGV has the number of its keys, then `max` and `windowMs` for each of them. All calls of a script are told
// the time that they were recorded at, which is all that there is to find them by again.
const CONSUME = `
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local stamp = string.format('%.0f', now)

local verdicts, argument, key = {}, 1, 1
while argument <= #ARGV do
  local last = key + ARGV[argument] - 1
  local refusal, scarcest
  argument = argument + 1
  local first = argument
  for i = key, last do
    local max, window = tonumber(ARGV[argument]), ARGV[argument + 1] * 1000
    local oldest = redis.call('LINDEX', KEYS[i], 0)
    while oldest and oldest + window <= now do
      redis.call('LPOP', KEYS[i])
      oldest = redis.call('LINDEX', KEYS[i], 0)
    end
    local count = oldest and redis.call('LLEN', KEYS[i]) or 0
    if count >= max then
      local freeing = redis.call('LINDEX', KEYS[i], count - max)
      local wait = freeing and freeing + window - now or window
      if not refusal or wait > refusal[4] then refusal = { 0, max, 0, wait } end
    else
      local remaining = max - count - 1
      if not scarcest or remaining < scarcest[3] then scarcest = { 1, max, remaining, (oldest or now) + window - now } end
    end
    argument = argument + 2
  end
  if not refusal then
    for i = key, last do
      redis.call('RPUSH', KEYS[i], stamp)
      redis.call('PEXPIRE', KEYS[i], ARGV[first + 2 * (i - key) + 1])
    end
  end
  local verdict = refusal or scarcest
  verdict[4] = math.ceil(verdict[4] / 1000)
  verdicts[#verdicts + 1] = verdict
  key = last + 1
end
return { stamp, verdicts }`
const consumeScript = createScript(CONSUME)

/** The rules of one call. */
type Call = readonly RateLimitRule[]

/** Longer than caches wait: a flood that slows everything down must not gain a second count by it. */
const PATIENCE_MS = 500

type KeyOf = (rule: RateLimitRule) => string

interface Decision {
  /** What stands in the lists for the calls that were recorded. */
  stamp: string
  verdicts: RateLimitVerdict[]
}

/** Decides calls, one after the other, in one atomic step. */
async function evaluate(client: RedisClient, keyOf: KeyOf, calls: readonly Call[]): Promise<Decision> {
  const keys = calls.flatMap((rules) => rules.map(keyOf))
  const values = calls.flatMap((rules) => [rules.length, ...rules.flatMap(({ max, windowMs }) => [max, windowMs])])
  const [stamp, verdicts] = (await consumeScript(client, keys, values)) as [string, number[][]]
  return {
    stamp,
    verdicts: verdicts.map(([allowed, limit = 0, remaining = 0, resetMs = 0]) => {
      return { isAllowed: allowed === 1, limit, remaining, resetMs }
    }),
  }
}

/**
 * Keys of one call live on different nodes of a cluster, which no script can reach together: so rule by rule, and what was
 * recorded is taken back when a later rule refuses. In between, others may be refused too early, and never too late.
 */
async function evaluateInTurn(client: RedisClient, keyOf: KeyOf, rules: Call): Promise<RateLimitVerdict> {
  const passed: RateLimitVerdict[] = []
  const recorded: { key: string; stamp: string }[] = []
  for (const rule of rules) {
    const { stamp, verdicts } = await evaluate(client, keyOf, [[rule]])
    const [verdict] = verdicts
    if (!verdict?.isAllowed) {
      await Promise.all(recorded.map((entry) => client.lrem(entry.key, -1, entry.stamp)))
      return verdict as RateLimitVerdict
    }
    passed.push(verdict)
    recorded.push({ key: keyOf(rule), stamp })
  }
  return scarcest(passed)
}

/**
 * Sliding logs that all processes share: one atomic script for the calls that come together. While Redis is away
 * `fallback` decides, which then counts from zero and for its own process only.
 */
export function createRedisRateLimitStore(
  connection: RedisConnection,
  fallback: RateLimitStore,
  { prefix }: { prefix: string },
): RateLimitStore {
  // Hashed, because a client chooses parts of the key. The window is a part of the identity: two rules with different
  // windows cannot share one log.
  const keyOf: KeyOf = ({ key, windowMs }) => `${prefix}calls:${hash('sha256', key, 'base64url')}:${windowMs}`

  const decide = async (client: RedisClient, together: readonly Call[]) =>
    connection.isCluster
      ? Promise.all(together.map((call) => evaluateInTurn(client, keyOf, call)))
      : (await evaluate(client, keyOf, together)).verdicts
  const decider = new DataLoader<Call, RateLimitVerdict>(
    (together) =>
      connection.run(
        (client) => decide(client, together),
        () => Promise.all(together.map((rules) => fallback.consume(rules))),
        PATIENCE_MS,
      ),
    together(),
  )

  return {
    consume: async (rules) => (rules.length === 0 ? scarcest([]) : decider.load(rules)),
  }
}

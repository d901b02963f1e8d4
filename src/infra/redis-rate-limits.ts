import { createHash, hash, randomBytes } from 'node:crypto'
import DataLoader from 'dataloader'
import type { RateLimitRule, RateLimitStore, RateLimitVerdict } from '../ports.js'
import { scarcest } from './memory.js'
import { createScript, type RedisClient, type RedisConnection, TOGETHER } from './redis.js'

// Scores are microseconds of the server's clock, so that all processes count by one clock.
// For each call, ARGV has its name and the number of its keys, then `max` and `windowMs` for each of them.
const CONSUME = `
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local function consume(name, first, rules)
  local refusal, verdict
  for i, rule in ipairs(rules) do
    local key = KEYS[first + i]
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now - rule.window)
    rule.count = redis.call('ZCARD', key)
    if rule.count >= rule.max then
      local index = rule.count - rule.max
      local freeing = redis.call('ZRANGE', key, index, index, 'WITHSCORES')[2]
      local wait = freeing and freeing + rule.window - now or rule.window
      if not refusal or wait > refusal.wait then refusal = { max = rule.max, wait = wait } end
    end
  end
  if refusal then return { 0, refusal.max, 0, math.ceil(refusal.wait / 1000) } end
  for i, rule in ipairs(rules) do
    local key = KEYS[first + i]
    redis.call('ZADD', key, now, name .. i)
    redis.call('PEXPIRE', key, rule.window / 1000)
    local remaining = rule.max - rule.count - 1
    if not verdict or remaining < verdict[3] then
      local oldest = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
      verdict = { 1, rule.max, remaining, math.ceil((oldest + rule.window - now) / 1000) }
    end
  end
  return verdict
end

local verdicts, argument, key = {}, 1, 0
while argument <= #ARGV do
  local rules, first = {}, key
  for i = 1, tonumber(ARGV[argument + 1]) do
    local at = argument + 2 * i
    rules[i] = { max = tonumber(ARGV[at]), window = tonumber(ARGV[at + 1]) * 1000 }
    key = key + 1
  end
  verdicts[#verdicts + 1] = consume(ARGV[argument], first, rules)
  argument = argument + 2 + 2 * #rules
end
return verdicts`
const consumeScript = createScript(CONSUME, createHash('sha1').update(CONSUME).digest('hex'))

interface Call {
  /** Unique, so that what it adds to a log can be told from everything else there. */
  name: string
  rules: readonly RateLimitRule[]
}

/** Longer than caches wait: a flood that slows everything down must not gain a second count by it. */
const PATIENCE_MS = 1000

type KeyOf = (rule: RateLimitRule) => string

/** Decides calls, one after the other, in one atomic step. */
async function evaluate(client: RedisClient, keyOf: KeyOf, calls: readonly Call[]): Promise<RateLimitVerdict[]> {
  const keys = calls.flatMap(({ rules }) => rules.map(keyOf))
  const values = calls.flatMap(({ name, rules }) => [
    name,
    rules.length,
    ...rules.flatMap(({ max, windowMs }) => [max, windowMs]),
  ])
  const verdicts = (await consumeScript(client, keys, values)) as number[][]
  return verdicts.map(([allowed, limit = 0, remaining = 0, resetMs = 0]) => {
    return { isAllowed: allowed === 1, limit, remaining, resetMs }
  })
}

/**
 * Keys of one call live on different nodes of a cluster, which no script can reach together: so rule by rule, and what was
 * recorded is taken back when a later rule refuses. In between, others may be refused too early, and never too late.
 */
async function evaluateInTurn(client: RedisClient, keyOf: KeyOf, { name, rules }: Call): Promise<RateLimitVerdict> {
  const verdicts: RateLimitVerdict[] = []
  for (const rule of rules) {
    const [verdict] = await evaluate(client, keyOf, [{ name, rules: [rule] }])
    if (!verdict?.isAllowed) {
      await Promise.all(rules.slice(0, verdicts.length).map((recorded) => client.zrem(keyOf(recorded), `${name}1`)))
      return verdict as RateLimitVerdict
    }
    verdicts.push(verdict)
  }
  return scarcest(verdicts)
}

/**
 * Sliding logs that all processes share: one atomic script for the calls that come together. While Redis is away
 * `fallback` decides, which then counts from zero and for its own process only.
 */
export function createRedisRateLimitStore(
  connection: RedisConnection,
  fallback: RateLimitStore,
  { prefix = 'portcullis:' }: { prefix?: string } = {},
): RateLimitStore {
  const processId = randomBytes(6).toString('base64url')
  let calls = 0
  // Hashed, because a client chooses parts of the key. The window is a part of the identity: two rules with different
  // windows cannot share one log.
  const keyOf: KeyOf = ({ key, windowMs }) => `${prefix}limit:${hash('sha256', key, 'base64url')}:${windowMs}`

  const decide = (client: RedisClient, together: readonly Call[]) =>
    connection.isCluster
      ? Promise.all(together.map((call) => evaluateInTurn(client, keyOf, call)))
      : evaluate(client, keyOf, together)
  const decider = new DataLoader<Call, RateLimitVerdict>(
    (together) =>
      connection.run(
        (client) => decide(client, together),
        () => Promise.all(together.map(({ rules }) => fallback.consume(rules))),
        PATIENCE_MS,
      ),
    TOGETHER,
  )

  return {
    consume: async (rules) => {
      if (rules.length === 0) return scarcest([])
      calls += 1
      return decider.load({ name: `${processId}${calls.toString(36)}.`, rules })
    },
  }
}

import { createHash, randomBytes } from 'node:crypto'
import type { RateLimitRule, RateLimitStore, RateLimitVerdict } from '../ports.js'
import { scarcest } from './memory.js'
import { createScript, type RedisClient, type RedisConnection } from './redis.js'

// Scores are microseconds of the server's clock, so that all processes count by one clock.
// ARGV: the name of this call, then `max` and `windowMs` for each key.
const CONSUME = `
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local rules, refusal = {}, nil
for i, key in ipairs(KEYS) do
  local max, window = tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1]) * 1000
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now - window)
  local count = redis.call('ZCARD', key)
  rules[i] = { max = max, window = window, count = count }
  if count >= max then
    local freeing = redis.call('ZRANGE', key, count - max, count - max, 'WITHSCORES')[2]
    local wait = freeing and freeing + window - now or window
    if not refusal or wait > refusal.wait then refusal = { max = max, wait = wait } end
  end
end
if refusal then return { 0, refusal.max, 0, math.ceil(refusal.wait / 1000) } end
local verdict
for i, key in ipairs(KEYS) do
  local rule = rules[i]
  redis.call('ZADD', key, now, ARGV[1] .. i)
  redis.call('PEXPIRE', key, rule.window / 1000)
  local remaining = rule.max - rule.count - 1
  if not verdict or remaining < verdict[3] then
    local oldest = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
    verdict = { 1, rule.max, remaining, math.ceil((oldest + rule.window - now) / 1000) }
  end
end
return verdict`
const consumeScript = createScript(CONSUME, createHash('sha1').update(CONSUME).digest('hex'))

async function evaluate(
  client: RedisClient,
  keys: readonly string[],
  call: string,
  rules: readonly RateLimitRule[],
): Promise<RateLimitVerdict> {
  const values = [call, ...rules.flatMap(({ max, windowMs }) => [max, windowMs])]
  const [allowed, limit = 0, remaining = 0, resetMs = 0] = (await consumeScript(client, keys, values)) as number[]
  return { isAllowed: allowed === 1, limit, remaining, resetMs }
}

/**
 * Keys of one call live on different nodes of a cluster, which no script can reach together: so rule by rule, and what was
 * recorded is taken back when a later rule refuses. In between, others may be refused too early, and never too late.
 */
async function evaluateInTurn(
  client: RedisClient,
  keys: readonly string[],
  call: string,
  rules: readonly RateLimitRule[],
): Promise<RateLimitVerdict> {
  const verdicts: RateLimitVerdict[] = []
  for (const [index, rule] of rules.entries()) {
    const verdict = await evaluate(client, keys.slice(index, index + 1), call, [rule])
    if (!verdict.isAllowed) {
      await Promise.all(keys.slice(0, index).map((key) => client.zrem(key, `${call}1`)))
      return verdict
    }
    verdicts.push(verdict)
  }
  return scarcest(verdicts)
}

/**
 * Sliding logs that all processes share: one atomic script per call. While Redis is away `fallback` decides,
 * which then counts from zero and for its own process only.
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
  const logKey = ({ key, windowMs }: RateLimitRule) =>
    `${prefix}limit:${createHash('sha256').update(key).digest('base64url')}:${windowMs}`
  const decide = connection.isCluster ? evaluateInTurn : evaluate

  return {
    consume: async (rules) => {
      if (rules.length === 0) return scarcest([])
      calls += 1
      const call = `${processId}${calls.toString(36)}.`
      return connection.run(
        (client) => decide(client, rules.map(logKey), call, rules),
        () => fallback.consume(rules),
      )
    },
  }
}

import { randomBytes } from 'node:crypto'
import { Redis } from 'ioredis'
import pg from 'pg'
import { onCleanup } from './cleanup.js'

const OUR_KEYS = 'portcullis:'
/** Channels know no numbered databases. */
const AUDIT_CHANNEL = 'portcullis:bus:audit-events'

/** Creates a database that is dropped at the end. Returns its URL. */
export async function createDatabase(adminUrl: string): Promise<string> {
  const name = `portcullis_bench_${randomBytes(4).toString('hex')}`
  const onAdmin = async (statement: string) => {
    const client = new pg.Client({ connectionString: adminUrl })
    await client.connect()
    await client.query(statement).finally(() => client.end())
  }
  await onAdmin(`CREATE DATABASE ${name}`)
  onCleanup(() => onAdmin(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`))
  const url = new URL(adminUrl)
  url.pathname = `/${name}`
  return url.href
}

/** Empties the numbered database now and at the end. Throws when it holds what is not ours. */
export async function openRedis(url: string): Promise<Redis> {
  if (!/^\/[1-9]\d*$/.test(new URL(url).pathname)) {
    throw new Error('BENCH_REDIS_URL must name a database of its own, such as redis://127.0.0.1:6379/9: it is flushed.')
  }
  const redis = new Redis(url, { maxRetriesPerRequest: 1 })
  onCleanup(() => redis.disconnect())
  const [, keys] = await redis.scan(0, 'COUNT', 1000)
  if (keys.some((key) => !key.startsWith(OUR_KEYS))) throw new Error(`${url} is in use: it holds other keys.`)
  const [, listeners] = (await redis.pubsub('NUMSUB', AUDIT_CHANNEL)) as [string, number]
  if (listeners > 0) {
    console.error(
      `Other servers listen on this Redis, and wake up with every login and refresh: figures suffer (${url}).`,
    )
  }
  await redis.flushdb()
  onCleanup(() => redis.flushdb())
  return redis
}

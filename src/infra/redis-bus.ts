import { randomBytes } from 'node:crypto'
import type { EventBus, Log } from '../ports.js'
import { createMemoryBus } from './memory.js'
import type { RedisConnection } from './redis.js'

const RESUBSCRIBE_DELAY_MS = 500
const HEARTBEAT_MS = 10_000

/**
 * Delivers within this process at once, and to the others through Redis. Subscriptions survive an outage;
 * what is published meanwhile reaches only this process.
 */
export function createRedisBus(
  connection: RedisConnection,
  { prefix, log }: { prefix: string; log: Pick<Log, 'error'> },
): EventBus & { close(): void } {
  const processId = randomBytes(9).toString('base64url')
  const local = createMemoryBus(log)
  const subscriber = connection.duplicate()
  const followers = new Map<string, number>()
  const channelStart = `${prefix}bus:`
  let retry: NodeJS.Timeout | undefined

  const follow = (channels: readonly string[]) => {
    // Not ready: `ready` follows all of them.
    if (channels.length === 0 || subscriber.status !== 'ready') return
    subscriber.subscribe(...channels.map((channel) => channelStart + channel)).catch(followAllSoon)
  }
  const followAll = () => follow([...followers.keys()])
  const followAllSoon = () => {
    clearTimeout(retry)
    retry = setTimeout(followAll, RESUBSCRIBE_DELAY_MS).unref()
  }

  subscriber.on('ready', followAll)
  subscriber.on('message', (name: string, envelope: string) => {
    if (envelope.startsWith(processId)) return
    local.publish(name.slice(channelStart.length), envelope.slice(processId.length))
  })
  // A subscriber only listens, and so would not notice that the other end is gone. The cluster client looks after its own.
  const onSilence = () => {
    if (subscriber.status === 'ready' && !connection.isCluster) subscriber.disconnect(true)
  }
  const heartbeat = setInterval(() => void subscriber.ping().catch(onSilence), HEARTBEAT_MS).unref()

  const unfollow = (channel: string) => {
    const count = (followers.get(channel) ?? 1) - 1
    if (count > 0) return void followers.set(channel, count)
    followers.delete(channel)
    if (subscriber.status === 'ready') subscriber.unsubscribe(channelStart + channel).catch(() => {})
  }

  return {
    publish: (channel, message) => {
      local.publish(channel, message)
      void connection.run(
        (client) => client.publish(channelStart + channel, processId + message),
        () => 0,
      )
    },
    subscribe: (channel, listener) => {
      const endLocal = local.subscribe(channel, listener)
      const count = followers.get(channel) ?? 0
      followers.set(channel, count + 1)
      if (count === 0) follow([channel])
      let isOpen = true
      return () => {
        if (!isOpen) return
        isOpen = false
        endLocal()
        unfollow(channel)
      }
    },
    close: () => {
      clearInterval(heartbeat)
      clearTimeout(retry)
      subscriber.disconnect()
    },
  }
}

import type { ServerResponse } from 'node:http'
import { mapAsyncIterator } from '@graphql-tools/utils'
import { createSourceEventStream, type ExecutionArgs, type ExecutionResult, execute } from 'graphql'
import type { FetchAPI } from 'graphql-yoga'

/** Where a result carries the cursor of its event; JSON does not show it. */
const EVENT_ID = Symbol('event id')
type EventResult = ExecutionResult & { [EVENT_ID]?: string }

/** `subscribe` of graphql-js for events that have cursors: its results carry them. */
export async function subscribeWithIds(
  args: ExecutionArgs,
): Promise<AsyncIterableIterator<ExecutionResult> | ExecutionResult> {
  const events = await createSourceEventStream(args)
  if (!(Symbol.asyncIterator in events)) return events
  return mapAsyncIterator(
    events as AsyncIterable<{ cursor: string }>,
    async (event): Promise<EventResult> => ({
      [EVENT_ID]: event.cursor,
      ...(await execute({ ...args, rootValue: event })),
    }),
  )
}

/** So long may a client take to read to the end. */
const CLOSE_TIMEOUT_MS = 2_000

/**
 * Results and their response end together; else they would count as open for ever. Nobody reads on when the response is
 * closed, also before the results came, or is a refusal. And a client that reads nothing, or that has them wait behind
 * another answer, does not see the end of their `life`: it is cut off.
 */
export function endTogether(
  results: AsyncIterable<unknown>,
  response: ServerResponse,
  life: AbortSignal | undefined,
): void {
  let timer: NodeJS.Timeout | undefined
  const cutOff = () => {
    timer = setTimeout(() => response.req.socket.destroy(), CLOSE_TIMEOUT_MS)
  }
  const end = () => {
    clearTimeout(timer)
    life?.removeEventListener('abort', cutOff)
    results[Symbol.asyncIterator]()
      .return?.()
      .catch(() => {})
  }
  life?.addEventListener('abort', cutOff)
  if (life?.aborted) cutOff()
  if (response.closed || response.destroyed) end()
  else response.once('close', end)
}

const PING_MS = 12_000
/** nginx would keep events back until there are many. */
const HEADERS = { 'content-type': 'text/event-stream', 'content-encoding': 'none', 'x-accel-buffering': 'no' }

/**
 * Results as server-sent events, as in the "distinct connections" mode of GraphQL over SSE. Each has the cursor of its event
 * as `id`, which a browser sends back as Last-Event-ID when it connects again. The stream begins with the id of the event
 * before it, so that none is missed when it breaks off before the first. Nothing is read ahead for a slow client.
 */
export function streamEvents(results: AsyncIterable<EventResult>, beginsAfter: string, fetchApi: FetchAPI): Response {
  const iterator = results[Symbol.asyncIterator]()
  const encoder = new fetchApi.TextEncoder()
  let pings: NodeJS.Timeout | undefined
  const body = new fetchApi.ReadableStream({
    start(stream) {
      const write = (text: string) => stream.enqueue(encoder.encode(text))
      write(`id: ${beginsAfter}\n\n`)
      pings = setInterval(() => {
        if ((stream.desiredSize ?? 0) > 0) write(':\n\n')
      }, PING_MS)
    },
    async pull(stream) {
      const { done, value } = await iterator.next().catch((error) => {
        clearInterval(pings)
        throw error
      })
      const text = done
        ? 'event: complete\ndata:\n\n'
        : `event: next\nid: ${value[EVENT_ID]}\ndata: ${JSON.stringify(value)}\n\n`
      stream.enqueue(encoder.encode(text))
      if (!done) return
      clearInterval(pings)
      stream.close()
    },
    async cancel() {
      clearInterval(pings)
      await iterator.return?.()
    },
  })
  return new fetchApi.Response(body, { headers: HEADERS })
}

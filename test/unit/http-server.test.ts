import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { GraphQLError } from 'graphql'
import { expect, onTestFinished, test } from 'vitest'
import { createConnections } from '../../src/http/connections.js'
import { createHttpServer, type Handler } from '../../src/http/server.js'
import { createTestLog } from '../support/log.js'

async function startServer(handler: Handler) {
  const log = createTestLog()
  const { server } = createHttpServer({
    routes: { '/': { GET: handler } },
    ...{ headers: [], productName: 'Portcullis', requestTimeoutMs: 5_000, patienceMs: 5_000, log },
    readClient: () => ({ correlationId: 'of-this-request' }) as never,
    openTransport: () => ({}) as never,
    maskError: () => new GraphQLError('It failed.', { extensions: { code: 'INTERNAL_SERVER_ERROR' } }),
    connections: createConnections({ maxUnreadBytes: 1_000_000, headers: [], log }),
    onResponse: () => {},
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return { log, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }
}

test('A request that fails is answered with its masked error', async () => {
  const { url, log } = await startServer(() => Promise.reject(new Error('of the handler')))
  const answer = await fetch(url)
  expect(answer.status).toBe(500)
  expect(await answer.json()).toMatchObject({ errors: [{ extensions: { correlationId: 'of-this-request' } }] })
  expect(log.problems.map(({ message }) => message)).toEqual(['A request failed'])
})

test('A request that fails in the midst of its answer is cut off: there is no other answer to give', async () => {
  const { url, log } = await startServer(({ response }) => {
    response.writeHead(200, { 'content-length': 10 }).write('begun')
    throw new Error('of the handler')
  })
  await expect(fetch(url).then((answer) => answer.text())).rejects.toThrow(TypeError)
  expect(log.problems.map(({ message }) => message)).toEqual(['A request failed'])
})
